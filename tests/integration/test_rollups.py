"""Do several servers add executions up once, and what do sums cost in books that have grown for years?"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from gatekeeper.storage import books, rollups
from gatekeeper.storage.connections import HOT_PATH
from gatekeeper_client import AsyncClient, AsyncHold
from tests.conftest import ServerFactory, wait_until

CALLS = 120
QUICK = {"GATEKEEPER_ROLLUP_INTERVAL_S": "0.05"}
# All that is final is added up: verification compares it with the executions after the test.
CAUGHT_UP = """
SELECT count(*) FROM organizations o JOIN spend_marks m USING (organization)
WHERE recorded_before = (SELECT max(committed_at) FROM executions e WHERE e.organization = o.organization)
"""
# Some for each level of an index, and for what is read of one step.
PAGES_MAX = 60
EXECUTIONS = 40_000
# Uncommitted, so that nobody gathers statistics of it meanwhile, and nobody verifies it.
FILL = f"""
SET LOCAL session_replication_role = replica;
INSERT INTO organizations (organization) SELECT 'o' || n FROM generate_series(1, 3) n;
INSERT INTO executions (organization, reservation_id, kind, day, month, committed_at, cost, reserved_amount, outcome)
SELECT 'o' || n % 2 + 1, n, 'COMMIT', '', '', timestamptz '2026-01-01' + interval '1 min' * n, 1, 1, 'SUCCEEDED'
FROM generate_series(1, {EXECUTIONS}) n;
INSERT INTO spend_marks VALUES ('o1', '2026-01-20'), ('o2', '2026-01-20');
"""
MARK = datetime(2026, 1, 20, tzinfo=UTC)
STEP: dict[str, Any] = {"organization": "o2", "mark": MARK, "limit": 100}
HOT = "; ".join(f"SET LOCAL {setting} = '{value}'" for setting, value in HOT_PATH.items())
STATEMENTS: dict[str, tuple[str, Any, str]] = {
    "clock": (books.CLOCK.sql.replace("$1", "%s"), ("o2", "o2"), HOT),
    "behind": (rollups.BEHIND, ("2026-01-01",), "SELECT"),
    "lock": (rollups.LOCK, ("o2",), rollups.BY_INDEX),
    "next": (rollups.NEXT, STEP, rollups.BY_INDEX),
    "add": (rollups.ADD, {**STEP, "next": datetime(2026, 1, 20, 1, tzinfo=UTC)}, rollups.BY_INDEX),
}


async def spend(client: AsyncClient, number: int) -> None:
    hold = await client.reserve(f"org {number % 3}", amount="1", campaign=f"c{number % 2}")
    assert isinstance(hold, AsyncHold)
    await hold.commit(amount=f"0.{number + 1}")


def test_several_servers(start_server: ServerFactory, database_url: str) -> None:
    """Whoever adds up, each execution counts once, and what is final is added up soon."""
    addresses = [start_server(database_url=database_url, **QUICK).address for _ in range(2)]

    async def spend_on(address: str) -> None:
        async with AsyncClient(address) as client:
            for first in range(0, CALLS, 8):
                await asyncio.gather(*(spend(client, first + number) for number in range(8)))

    async def spend_on_all() -> None:
        await asyncio.gather(*map(spend_on, addresses))

    asyncio.run(spend_on_all())
    with psycopg.connect(database_url, autocommit=True) as connection:
        wait_until(lambda: connection.execute(CAUGHT_UP).fetchone() == (3,))
        row = connection.execute("SELECT sum(entries) FROM spend_rollups").fetchone()
    assert row is not None
    # Of each organization, only its newest batch is not final.
    assert 2 * CALLS - 3 * 8 <= row[0] < 2 * CALLS


@pytest.mark.parametrize("analyzed", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_plans(database_url: str, name: str, analyzed: bool) -> None:
    """What every batch and every look asks costs the same whatever has been before."""
    statement, given, settings = STATEMENTS[name]
    with psycopg.connect(database_url) as connection:
        connection.execute(FILL.encode())
        if analyzed:
            connection.execute("ANALYZE organizations, executions, spend_marks")
        connection.execute(settings.encode())
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {statement}"
        row = connection.execute(explain.encode(), given).fetchone()
        connection.rollback()
    assert row is not None
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES_MAX, json.dumps(plan, indent=1)
