"""What do changes and lists of overrides cost in books that have grown for years? By indexes, what is open or asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from gatekeeper.storage import override_lists, overrides, second_admins, start_overrides
from gatekeeper.storage.connections import HOT_PATH

# A fiftieth of what is there.
PAGES_MAX = 120
# Uncommitted, so that nobody gathers statistics of it meanwhile, and nobody verifies it.
FILL = """
SET LOCAL session_replication_role = replica;
INSERT INTO organizations (organization) SELECT 'o' || n FROM generate_series(1, 10) n;
INSERT INTO overrides (organization, override_id, scope_kind, scope_id, reservation_id, max_amount, ttl, state,
    created_at, expires_at, reason, granted_by, ended_at)
SELECT 'o' || n % 2 + 1, n, CASE WHEN n % 3 > 0 THEN 'AGENT' END, CASE WHEN n % 3 > 0 THEN n % 7 END,
    CASE WHEN n % 3 > 0 THEN '' ELSE n::text END, 1, interval '1 h',
    CASE WHEN n > 39900 THEN 'PENDING' WHEN n > 39800 THEN 'ACTIVE' WHEN n % 2 > 0 THEN 'ENDED' ELSE 'DECLINED' END,
    now() - interval '1 min' * (40000 - n), now() + interval '1 h', 'why', 'ada', CASE WHEN n <= 39800 THEN now() END
FROM generate_series(1, 40000) n;
INSERT INTO reservations (organization, reservation_id, amount, state, day, month, created_at, expires_at, ended_at,
    owner, caller, request_digest, priority, override_id)
SELECT 'o' || n % 2 + 1, n, 1, 'RELEASED', '', '', now() - interval '1 min' * n, now() + interval '1 h', now(), '', '',
    '', 'NORMAL', CASE WHEN n % 1000 = 1 THEN '39999' ELSE '' END
FROM generate_series(1, 40000) n;
"""
ANALYZE = "ANALYZE organizations, overrides, reservations"
NAMED = {"organization": "o2"}
DAY_AGO = datetime.now(UTC) - timedelta(days=1)
# Under the organization's lock, by connections like the hot path's.
CHANGING: dict[str, tuple[str, Any]] = {
    "find": (overrides.FIND, ("o2", "39999")),
    "open of": (overrides.OPEN_OF, ("o2", "now", "AGENT", "3", "")),
    "open of a reservation": (overrides.OPEN_OF, ("o2", "now", None, None, "39999")),
    "count": (overrides.COUNT, ("o2", "now")),
    "set until": (overrides.SET_UNTIL, NAMED),
    "asked for": (
        overrides.ASKED_FOR,
        {**NAMED, "now": "now", "since": DAY_AGO, "reservation_ids": ["39999", "17", "nobodys"]},
    ),
    "waiting of": (overrides.WAITING_OF, ("o2", "now", ["nobody", "17"])),
    "granted alone": (
        second_admins.GRANTED_ALONE,
        {**NAMED, "now": "now", "since": DAY_AGO, "token_ids": ["7"], "name": "ada"},
    ),
    "without a start": (
        start_overrides.WITHOUT,
        {
            "organization": None,
            "override_id": "start-2026-11-20",
            "prefix": "start-",
            "oldest_id": "start-2026-09-20",
            "newest_id": "start-2026-11-20",
            "now": "now",
            "since": DAY_AGO,
            "limit": 100,
        },
    ),
    "is reserved": (overrides.IS_RESERVED, ("o2", "39999")),
}
READING: dict[str, tuple[str, Any]] = {
    "in force": (overrides.IN_FORCE, {**NAMED, "kinds": None, "ids": None, "now": "now", "limit": 100}),
    "in force of scopes": (overrides.IN_FORCE, {**NAMED, "kinds": ["AGENT"], "ids": ["3"], "now": "now", "limit": 9}),
    "page": (
        override_lists.PAGE,
        {**NAMED, "state": None, "after_at": DAY_AGO, "after_id": "x", "now": "now", "limit": 100},
    ),
    "uses": (override_lists.USES, {**NAMED, "override_ids": ["39999", "39997"], "limit": 20}),
}


@pytest.mark.parametrize("analyzed", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("name", CHANGING)
def test_changes(database_url: str, name: str, analyzed: bool) -> None:
    """They cost as much as is open or asked for, whatever has been before, and whether PostgreSQL knows how much."""
    assert_cheap(database_url, *CHANGING[name], analyzed=analyzed, settings=HOT_PATH)


@pytest.mark.parametrize("name", READING)
def test_reads(database_url: str, name: str) -> None:
    """They cost as much as is told, whatever has been before."""
    assert_cheap(database_url, *READING[name], analyzed=True, settings={})


def assert_cheap(database_url: str, statement: str, given: Any, *, analyzed: bool, settings: Mapping[str, str]) -> None:
    """Execute a statement in such books; see how many pages it has looked at."""
    with psycopg.connect(database_url) as connection:
        connection.execute(FILL)
        if analyzed:
            connection.execute(ANALYZE)
        for setting, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {statement}"
        row = connection.execute(explain.encode(), given).fetchone()
        connection.rollback()
    assert row is not None
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES_MAX, json.dumps(plan, indent=1)
