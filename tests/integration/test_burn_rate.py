"""Is it told, once and in time, that a budget will not last until its period ends?"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services import burn_rate
from gatekeeper.storage import burn_rate as storage
from gatekeeper.storage.turns import OURS, Turn
from gatekeeper_client import Client, Hold
from tests.conftest import ServerFactory, url_of
from tests.contract.wire import until
from tests.integration.busy_books import copied
from tests.integration.trails import pooled

QUICK = {"GATEKEEPER_BURN_RATE_INTERVAL_S": "0.1"}
TOLD = """
SELECT organization, scope_kind, scope_id, budget_window, round, message FROM alerts WHERE kind = 'BURN_RATE'
ORDER BY alert_id
"""
OPEN = "INSERT INTO organizations (organization, time_zone) VALUES (%s, %s)"
# Budgets of runs with a balance for each of many days, the last of them used up at noon but for a fifth.
FILL = """
INSERT INTO organizations (organization, time_zone) SELECT 'o ' || n, %(zone)s FROM generate_series(0, 9) n;
INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds)
SELECT 'o ' || n %% 10, 'RUN', 'r ' || n, 'DAY', 10, 'ENFORCE', '{{80}}' FROM generate_series(1, {budgets}) n;
INSERT INTO balances (organization, scope_kind, scope_id, budget_window, period, cap, enforcement, spent)
SELECT 'o ' || n %% 10, 'RUN', 'r ' || n, 'DAY', (%(today)s::date - d)::text, 10, 'ENFORCE', 8
FROM generate_series(1, {budgets}) n, generate_series(0, {days}) d;
"""
BUDGETS = 600
DAYS = 20
# Some for each level of four indexes.
PAGES_PER_ROW_MAX = 25


def zone_at_noon() -> str:
    """Return a calendar in which it is noon now: half of the day is gone."""
    hours = datetime.now(UTC).hour - 12
    return f"Etc/GMT{hours:+d}"


def told(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(TOLD).fetchall()


def spend(client: Client, amount: str, **call: Any) -> None:
    hold = client.reserve("acme", amount=amount, **call)
    assert isinstance(hold, Hold)
    hold.commit(amount=amount)


def predict(url: str) -> int:
    async def with_a_pool() -> int:
        async with pooled(url) as pool:
            return await burn_rate.predict(pool)

    return asyncio.run(with_a_pool())


@pytest.fixture
def filled(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Make a database with many budgets that will not last, and balances of the past that no book stands behind."""
    with copied(postgres, template) as name:
        url = url_of(postgres, name)
        with psycopg.connect(url) as connection:
            fill(connection)
        yield url


def fill(connection: psycopg.Connection) -> None:
    zone = zone_at_noon()
    statements = FILL.format(budgets=BUDGETS, days=DAYS).encode()
    row = connection.execute("SELECT (now() AT TIME ZONE %s)::date", [zone]).fetchone()
    assert row is not None
    psycopg.ClientCursor(connection).execute(statements, {"zone": zone, "today": row[0]})


def test_told_once(start_server: ServerFactory, database_url: str) -> None:
    """Two servers tell once of each budget that will not last, and again when its cap has changed."""
    with psycopg.connect(database_url) as connection:
        connection.execute(OPEN, ["acme", zone_at_noon()])
    servers = [start_server(database_url=database_url, **QUICK) for _ in range(2)]

    def until_told(*budgets: tuple[str, int]) -> None:
        until(lambda: len(told(database_url)) >= len(budgets))
        assert [(row[2], row[4]) for row in told(database_url)] == [*budgets]

    with Client(servers[0].address) as client:
        # One lasts, one is used up at once, one has no end.
        client.set_cap("acme", scope=("CAMPAIGN", "slow"), cap="100", window="DAY")
        client.set_cap("acme", scope=("CAMPAIGN", "gone"), cap="8", window="DAY")
        client.set_cap("acme", scope=("AGENT", "a"), cap="10", window="TOTAL")
        client.set_cap("acme", scope=("RUN", "first"), cap="10", window="DAY")
        client.set_cap("acme", scope=("RUN", "last"), cap="10", window="DAY", enforcement="SHADOW")
        spend(client, "8", campaign="slow", agent="a")
        spend(client, "8", campaign="gone", run="first")
        until_told(("first", 1))
        client.set_cap("acme", scope=("RUN", "first"), cap="11", window="DAY")
        until_told(("first", 1), ("first", 2))
        spend(client, "8", run="last")
        until_told(("first", 1), ("first", 2), ("last", 1))
    message = str(told(database_url)[-1][-1])
    assert re.fullmatch(
        r"The day budget of run 'last' \(\S+\) will be used up on \S+ at \d\d:\d\d \(Etc/GMT\S+\) at this rate: 8.00"
        r" spent of 10.00 USD. By the end of the period it would be some [456].\d\d USD beyond its cap.",
        message,
    ), message


def test_all_pages(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each is told once; not the frozen ones, and not by a calendar that does not exist."""
    monkeypatch.setattr(burn_rate, "PAGE_SIZE", 7)
    with psycopg.connect(filled) as connection:
        connection.execute("UPDATE budgets SET frozen = true WHERE scope_id = 'r 17'")
        connection.execute("UPDATE organizations SET time_zone = 'Mars/Olympus' WHERE organization = 'o 3'")
    assert predict(filled) == BUDGETS - 1 - BUDGETS // 10
    assert len({row[:3] for row in told(filled)}) == len(told(filled)) == BUDGETS - 1 - BUDGETS // 10
    assert predict(filled) == 0


def test_one_at_a_time(filled: str) -> None:
    """While another process looks, nobody waits for it and nothing is told."""
    with psycopg.connect(filled) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [OURS, Turn.BURN_RATE.value])
        assert predict(filled) == 0
        assert told(filled) == []
    assert predict(filled) == BUDGETS


@pytest.mark.parametrize("analyzed", [False, True])
def test_plan(filled: str, analyzed: bool) -> None:
    """A page is read by primary keys alone, however many periods there are, whatever is known of the tables."""
    with psycopg.connect(filled) as connection:
        if analyzed:
            connection.execute("ANALYZE organizations, budgets, balances, alerts")
        connection.execute(storage.BY_INDEX.encode())
        row = connection.execute("SELECT max(time_zone), max(period) FROM organizations, balances").fetchone()
        assert row is not None
        zone, today = row
        parameters = {
            "time_zones": [zone],
            "days": [today],
            "months": [today[:7]],
            "organization": "o 4",
            "kind": "RUN",
            "id": "r 4",
            "window": "DAY",
            "limit": 100,
        }
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {storage.PAGE}".encode()
        found = psycopg.ClientCursor(connection).execute(explain, parameters).fetchone()
    assert found is not None
    plan = found[0][0]["Plan"]
    shown = json.dumps(plan, indent=1)
    assert plan["Actual Rows"] == 100, shown
    indexes = set(re.findall(r'"Index Name": "(\w+)"', shown))
    assert indexes == {"organizations_pkey", "budgets_pkey", "balances_pkey", "alerts_once_idx"}, shown
    assert not re.search(r"Seq Scan|Hash Join|Merge Join|Bitmap|Sort", shown), shown
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES_PER_ROW_MAX * 100, shown
