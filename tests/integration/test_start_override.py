"""What does ALLOW_BUDGET_OVERRIDE turn on? One bounded override for each organization and day, told loudly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog

from gatekeeper.services import start_override
from gatekeeper.services.changes import Changes
from gatekeeper.services.start_override import StartOverride, StartTerms
from gatekeeper.storage.connections import Connection, Pool
from gatekeeper_client.money import from_money
from tests.conftest import ServerFactory
from tests.contract.overriding import ACTIVE, ENDED, anyone, opened, trail
from tests.contract.wire import ORGANIZATION, Wire
from tests.integration.trails import KEY, connected, open_organizations, pooled

ON = {"ALLOW_BUDGET_OVERRIDE": "true", "GATEKEEPER_START_OVERRIDE_MAX": "7", "GATEKEEPER_INSTANCE": "sidecar-1"}
TERMS = StartTerms(max_amount=Decimal(7), ttl=timedelta(hours=1), instance="sidecar-1")
FOUND = "SELECT organization, override_id, expires_at FROM overrides ORDER BY organization, override_id"
UNTIL = "SELECT organization, overrides_until FROM organizations ORDER BY organization"


def today() -> str:
    return f"start-{datetime.now(UTC).date().isoformat()}"


def test_it_is_on_when_the_server_serves(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """For the whole organization, of the set amount and time, written down, and warned of in the log."""
    with closing(Wire(start_server(database_url=database_url).address, database_url)) as wire:
        opened(wire, "acme")
        wire.deny("acme", "3")
    days = {today()}
    server = start_server(database_url=database_url, **ON, GATEKEEPER_START_OVERRIDE_TTL_S="60")
    with closing(Wire(server.address, database_url)) as wire:
        assert wire.hold("acme", "3").HasField("override")
        (override,) = anyone(wire, "acme").listed()
        assert override.override_id in days | {today()}
        assert (override.scope, override.state, override.granted_by) == (ORGANIZATION, ACTIVE, "gatekeeper")
        assert from_money(override.max_amount) == 7
        assert 0 < (override.expire_time.ToDatetime() - override.create_time.ToDatetime()).total_seconds() <= 60
        assert override.reason == "ALLOW_BUDGET_OVERRIDE is set where sidecar-1 was started"
        assert trail(wire, "acme")[0] == ("OVERRIDE_GRANTED", "gatekeeper", override.reason, "ACTIVE")
    lines = [json.loads(line) for line in (tmp_path / "server-1.log").read_text().splitlines() if line.startswith("{")]
    (warning,) = [line for line in lines if line["event"] == "override.at_start"]
    assert (warning["level"], warning["max_amount"], warning["ttl_s"]) == ("warning", "7.00", 60)
    assert "at_start" not in (tmp_path / "server-0.log").read_text()


def test_one_a_day_however_many_processes_start(start_server: ServerFactory, database_url: str) -> None:
    """Others on the same database, and restarts, add nothing; what an admin has ended stays ended."""
    server = start_server(database_url=database_url)
    with closing(Wire(server.address, database_url)) as wire:
        opened(wire, "acme")
        days = {today()}
        for _ in range(2):
            start_server(database_url=database_url, **ON)
        desk = anyone(wire, "acme")
        desk.off()
        start_server(database_url=database_url, **ON)
        days.add(today())
        made = desk.listed()
        assert {override.override_id for override in made} <= days
        assert len(made) == 1 or len(days) > 1
        assert made[-1].state == ENDED


def with_pool(url: str, work: Callable[[Connection, Pool], Awaitable[Any]]) -> Any:
    """Do some work on a database."""

    async def run() -> Any:
        async with connected(url) as connection, pooled(url) as pool:
            return await work(connection, pool)

    return asyncio.run(run())


async def found(connection: Connection, statement: str = FOUND) -> list[Any]:
    return await (await connection.execute(statement.encode())).fetchall()


def test_organizations_that_are_opened_later_get_it(database_url: str) -> None:
    """Each gets what is left of its time, however many look after that at once, and those who watch are told."""

    async def work(connection: Connection, pool: Pool) -> None:
        await open_organizations(connection, "a", "b")
        changes = Changes()
        starts = [StartOverride(pool, TERMS, KEY, changes) for _ in range(3)]
        assert sum(await asyncio.gather(*(start.ensure() for start in starts))) >= 2
        assert changes.drain() == {"a", "b"}
        first = await found(connection)
        await open_organizations(connection, "c")
        assert [await start.ensure() for start in starts] == [1, 0, 0]
        assert changes.drain() == {"c"}
        every = await found(connection)
        assert every[:2] == first
        assert [name for name, *_ in every] == ["a", "b", "c"]
        assert [tuple(row) for row in await found(connection, UNTIL)] == [(name, until) for name, _, until in every]

    with_pool(database_url, work)


@pytest.mark.parametrize("days_before", [1, 31])
@pytest.mark.parametrize(
    ("change", "is_made"),
    [
        ("expires_at = now() + interval '1 min'", False),
        ("expires_at = now()", True),
        ("state = 'ENDED', ended_at = now() - interval '59 min'", False),
        ("state = 'ENDED', ended_at = now() - interval '61 min'", True),
    ],
    ids=["in force", "over", "ended", "ended long ago"],
)
def test_none_beside_that_of_another_day(database_url: str, change: str, days_before: int, is_made: bool) -> None:
    """While an earlier one is in force, none is made, nor for as long as one lasts after an admin has ended one."""

    async def work(connection: Connection, pool: Pool) -> None:
        await open_organizations(connection, "acme")
        await StartOverride(pool, TERMS, KEY, Changes()).ensure()
        before = f"start-{datetime.now(UTC).date() - timedelta(days=days_before)}"
        await connection.execute(f"UPDATE overrides SET override_id = %s, {change}".encode(), (before,))
        assert await StartOverride(pool, TERMS, KEY, Changes()).ensure() == is_made
        assert len(await found(connection)) == 1 + is_made

    with_pool(database_url, work)


def test_it_ends_for_all(database_url: str) -> None:
    """When its time is over, calls stop at caps again: an organization that is opened then gets none."""

    async def work(connection: Connection, pool: Pool) -> None:
        short = StartTerms(max_amount=Decimal(7), ttl=timedelta(milliseconds=1), instance="sidecar-1")
        start = StartOverride(pool, short, KEY, Changes())
        with structlog.testing.capture_logs() as logs:
            await start.ensure()
            await connection.execute("SELECT pg_sleep(0.01)")
            await open_organizations(connection, "acme")
            assert await start.ensure() == 0
        assert await found(connection) == []
        assert [line["event"] for line in logs] == ["override.at_start"]

    with_pool(database_url, work)


def test_so_many_at_a_time(database_url: str, monkeypatch: Any) -> None:
    """A start waits for some organizations; the next passes take the others."""
    monkeypatch.setattr(start_override, "ORGANIZATIONS_MAX", 2)

    async def work(connection: Connection, pool: Pool) -> None:
        await open_organizations(connection, *"abc")
        start = StartOverride(pool, TERMS, KEY, Changes())
        assert [await start.ensure() for _ in range(3)] == [2, 1, 0]
        assert len(await found(connection)) == 3

    with_pool(database_url, work)
