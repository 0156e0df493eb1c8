"""What does the server do by itself while its database is away, or its connections are in use?"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import structlog

from gatekeeper.app import probing
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.parts import UPKEEP_POOL, Parts, open_parts
from gatekeeper.services.repetition import Failures
from gatekeeper.services.upkeep import AWAY, collect_garbage_while_shut
from gatekeeper.settings import load_settings
from tests.conftest import cut_off

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def parts_on(database_url: str, logs_dir: Path) -> AsyncIterator[Parts]:
    """Yield what a server on this database is made of."""
    async with AsyncExitStack() as stack:
        settings = load_settings(database_url=database_url, insecure=True, logs_dir=logs_dir)
        yield await open_parts(settings, database_url, stack)


async def test_the_probe_waits_for_nobody(database_url: str, tmp_path: Path) -> None:
    """While others hold all connections of upkeep, the database is there, and calls are answered."""
    async with parts_on(database_url, tmp_path) as parts, AsyncExitStack() as stack:
        for _ in range(UPKEEP_POOL):
            await stack.enter_async_context(parts.own.connection())
        assert await probing(parts, Failures("database.away", "database.back"))() == {"database": True, "schema": True}
        assert parts.gate.is_open


async def test_an_outage_is_told_twice(postgres: EmbeddedPostgres, database_url: str, tmp_path: Path) -> None:
    """However often the database is probed while it is away. When it is back, so are the pools."""
    async with parts_on(database_url, tmp_path) as parts:
        probe = probing(parts, Failures("database.away", "database.back"))
        with structlog.testing.capture_logs() as logs:
            with cut_off(postgres, database_url):
                for _ in range(2):
                    assert await probe() == AWAY
                assert not parts.gate.is_open
            assert (await probe())["database"]
            assert parts.gate.is_open
        for pool in (parts.hot, parts.changes, parts.reads):
            async with pool.connection(timeout=0.5) as connection:
                await connection.execute("SELECT 1")
    assert [line["event"] for line in logs] == ["database.away", "database.back"]


async def test_lost_connections_are_no_outage(postgres: EmbeddedPostgres, database_url: str, tmp_path: Path) -> None:
    """The database was restarted between two probes: it is there, and the gate stays open."""
    async with parts_on(database_url, tmp_path) as parts:
        probe = probing(parts, Failures("database.away", "database.back"))
        assert (await probe())["database"]
        with structlog.testing.capture_logs() as logs:
            with cut_off(postgres, database_url):
                pass
            assert (await probe())["database"]
    assert not logs


class Cycle:
    """What only a look for garbage finds, as an attempt to connect that was given up."""

    def __init__(self) -> None:
        self.own = self


async def test_garbage_of_an_outage(database_url: str, tmp_path: Path) -> None:
    """While the gate is shut, what lies in reference cycles is freed, however little else is made."""
    async with parts_on(database_url, tmp_path) as parts:
        gc.disable()
        collecting = asyncio.create_task(collect_garbage_while_shut(parts.gate, interval_s=0.01))
        try:
            garbage = weakref.ref(Cycle())
            parts.gate.shut()
            async with asyncio.timeout(10):
                while garbage() is not None:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
            collecting.cancel()
