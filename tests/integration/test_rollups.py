"""Do several servers add executions up once, and what do sums cost in books that have grown for years?"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import structlog

from gatekeeper.domain.invoices import Span
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services.repetition import Failures
from gatekeeper.services.rollups import roll_up
from gatekeeper.storage import books, months, rollups
from gatekeeper.storage.connections import HOT_PATH, open_pool
from gatekeeper.storage.spend import add_up
from gatekeeper_client import AsyncClient, AsyncHold
from tests.conftest import ServerFactory, url_of, wait_until
from tests.integration.busy_books import copied

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
    "clock": (books.CLOCK.sql.replace("$1", "%s"), ("o2",) * books.CLOCK.sql.count("$1"), HOT),
    "times": (months.TIMES, ("o2",), "SET LOCAL enable_seqscan = off"),
    "behind": (rollups.BEHIND, ("2026-01-01",), "SELECT"),
    "lock": (rollups.LOCK, ("o2",), rollups.BY_INDEX),
    "next": (rollups.NEXT, STEP, rollups.BY_INDEX),
    "add": (rollups.ADD, {**STEP, "next": datetime(2026, 1, 20, 1, tzinfo=UTC)}, rollups.BY_INDEX),
}
# No execution has a reservation, so these books are for nobody to verify.
RECORD = """
INSERT INTO executions (organization, reservation_id, kind, department, campaign, agent, agent_type, model, override_id,
    day, month, committed_at, cost, reserved_amount, outcome)
VALUES (%s, %s, 'COMMIT', %s, %s, %s, %s, %s, %s, '2026-01-01', '2026-01', %s, 1, 1, 'SUCCEEDED')
"""
NAMES = ("department", "campaign", "agent", "agent_type", "model", "override_id")
MONTH = Span(period="2026-01", recorded_before=datetime(2026, 2, 1, tzinfo=UTC))


@pytest.fixture
def bare_url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Make a database whose executions have no reservations."""
    with copied(postgres, template) as name:
        yield url_of(postgres, name)


def record(connection: psycopg.Connection[Any], organization: str, *calls: tuple[str, ...]) -> None:
    """Record calls by their names, an hour apart, and one that is not final."""
    connection.execute("INSERT INTO organizations (organization) VALUES (%s)", (organization,))
    for hour, names in enumerate([*calls, ("",) * len(NAMES)]):
        connection.execute(RECORD, (organization, str(hour), *names, datetime(2026, 1, 1, hour, tzinfo=UTC)))


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


def test_names_of_any_length(bare_url: str) -> None:
    """The longest names that no compression shortens are added up, and names that look alike stay apart."""
    chance = random.Random(1)
    longest = tuple("".join(chr(chance.randrange(0x20000, 0x2A6D0)) for _ in range(128)) for _ in NAMES)
    alike = [("a,b", ""), ("a", "b"), ('a","b', ""), ("a", ',"b"'), ("(a", "b)"), ("a\\", "b")]
    calls = [longest, longest, *((*names, "", "", "", "") for names in alike)]
    with psycopg.connect(bare_url, autocommit=True) as connection:
        record(connection, longest[0], *calls)

    async def added_up() -> list[tuple[tuple[str, ...], int]]:
        async with await psycopg.AsyncConnection.connect(bare_url, autocommit=True) as connection:
            while await rollups.add_next(connection, longest[0], 1):
                pass
            count = await (await connection.execute("SELECT sum(entries), count(*) FROM spend_rollups")).fetchone()
            assert count == (len(calls), len(calls) - 1)
            return [(row.key, row.totals.entries) for row in await add_up(connection, longest[0], [MONTH], NAMES)]

    expected = dict.fromkeys([*calls, ("",) * len(NAMES)], 1) | {longest: 2}
    assert dict(asyncio.run(added_up())) == expected


def test_one_organization_fails_alone(bare_url: str) -> None:
    """What fails for one organization is told by its name; the others are added up, and it too once it works."""
    with psycopg.connect(bare_url, autocommit=True) as connection:
        for organization in "abc":
            record(connection, organization, ("",) * len(NAMES))
        connection.execute("ALTER TABLE spend_rollups ADD CONSTRAINT no_b CHECK (organization <> 'b')")

        async def rolled_up() -> list[tuple[Any, ...]]:
            async with open_pool(bare_url, name="own", size_max=1, hot=False) as pool:
                await roll_up(pool, failures)
            return connection.execute("SELECT organization, entries FROM spend_rollups ORDER BY 1").fetchall()

        failures = Failures("failed", "resumed")
        with structlog.testing.capture_logs() as logs:
            assert asyncio.run(rolled_up()) == [("a", 1), ("c", 1)]
            connection.execute("ALTER TABLE spend_rollups DROP CONSTRAINT no_b")
            assert asyncio.run(rolled_up()) == [("a", 1), ("b", 1), ("c", 1)]
    assert [line["event"] for line in logs] == ["failed", "resumed"]
    assert (logs[0]["organizations"], logs[0]["failed"]) == (["b"], 1)
