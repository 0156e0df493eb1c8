"""Is a month read by indexes that are bounded in time, however many months there are before it?"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from gatekeeper.domain.cost_splits import SplitModel, SplitRule
from gatekeeper.storage import cost_splits, month_report, rollups, statements, unbilled

BEGIN, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
MONTHS, CALLS = 30, 1000
TABLES = ["reservations", "executions", "denials"]
# Less than a walk through the smallest of the tables reads.
PAGES_MAX = 250
# Uncommitted, so that nobody gathers statistics of it meanwhile.
FILL = f"""
CREATE TEMP TABLE calls ON COMMIT DROP AS
SELECT n::text AS id, t, to_char(t AT TIME ZONE 'UTC', 'YYYY-MM') AS month, 'r-' || n % 1000 AS run
FROM generate_series(1, {MONTHS * CALLS}) n,
    LATERAL (SELECT timestamptz '2026-12-01Z' - n * interval '30 days' / {CALLS} AS t) s;
INSERT INTO reservations (organization, reservation_id, run, amount, state, day, month, created_at, expires_at,
    ended_at, owner, caller, request_digest, priority)
SELECT 'acme', id, run, 1, 'RELEASED', '', month, t, t + interval '1 hour', t, 'o', 'c', '', 'NORMAL' FROM calls;
INSERT INTO executions (organization, reservation_id, kind, run, day, month, committed_at, cost, reserved_amount,
    outcome)
SELECT 'acme', id, 'COMMIT', run, '', month, t, 1, 1, 'SUCCEEDED' FROM calls;
INSERT INTO denials (organization, reservation_id, reason, requested, shortfall, denied_at, caller, actor, actor_role,
    peer)
SELECT 'acme', id, 'UNPRICED_MODEL', 0, 0, t, '', '', '', '' FROM calls;
ANALYZE reservations, executions, denials
"""
MARK = datetime(2026, 11, 29, tzinfo=UTC)
ROLLED_UP = {"organization": "acme", "mark": datetime(1970, 1, 1, tzinfo=UTC), "next": MARK}
EXECUTED = ("acme", "2026-11", BEGIN - timedelta(days=1), END)
SPLIT = sql.SQL(cost_splits.SHARED).format(
    cases=cost_splits._case(0, SplitRule(label="pool", value="x", model=SplitModel.EVEN, shares=[])),
    column=sql.Identifier("campaign"),
)
NAMED: dict[str, Any] = {
    "organization": "acme",
    "month": "2026-11",
    "since": BEGIN - timedelta(days=1),
    "before": END,
    "until": END + timedelta(days=1),
    "limit": 50,
    "label_0": "pool",
    "value_0": "x",
}
STATEMENTS: dict[str, tuple[Any, Any]] = {
    "holds": (
        statements.HELD.format(scope="true", period="month = %s"),
        ("acme", BEGIN - timedelta(days=1), END + timedelta(days=1), "2026-11"),
    ),
    "run": (statements.OF_RUN, ("acme", "r-1", "2026-11")),
    "split": (SPLIT, NAMED),
    "denials": (month_report.DENIALS, ("acme", BEGIN, END, 50)),
    "callers": (month_report.CALLERS, NAMED),
    "accuracy": (month_report.ACCURACY, EXECUTED),
    "failed": (month_report.FAILED, EXECUTED),
}


def test_plans(database_url: str) -> None:
    """No statement about one month walks through the months before it."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(FILL.encode())
        connection.execute(rollups.ADD.encode(), ROLLED_UP)
        connection.execute(rollups.BEGIN, ("acme", MARK))
        connection.execute("ANALYZE spend_rollups, spend_marks")
        smallest = connection.execute("SELECT min(relpages) FROM pg_class WHERE relname = ANY(%s)", (TABLES,))
        assert smallest.fetchall()[0][0] > 1.5 * PAGES_MAX
        for name, (statement, given) in STATEMENTS.items():
            check_pages(connection, name, statement, given)
        # As the service reads it.
        connection.execute("SET LOCAL enable_seqscan = off")
        check_pages(connection, "unbilled", unbilled.UNBILLED, {"organization": "acme", "before": "2026-12"})
        connection.rollback()


def check_pages(connection: psycopg.Connection, name: str, statement: Any, given: Any) -> None:
    """Check how many pages a statement reads."""
    explained = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {}").format(
        sql.SQL(statement) if isinstance(statement, str) else statement
    )
    row = connection.execute(explained, given).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    shown = f"{name}: {json.dumps(plan, indent=1)}"
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES_MAX, shown
