"""What does a server owe its callers when it is told to stop? The answers that it has begun, and no new ones."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from random import Random
from uuid import UUID

import pytest

from gatekeeper.embedded import EmbeddedPostgres
from tests.conftest import Server, ServerFactory

from .in_process import locked, reservation_ids, until_waiting
from .postgres import hang, wake
from .test_outages import NOT_SERVING, SETTINGS, Line, line_to

WORKERS = 32
# gRPC itself turns away as CANCELLED what arrives at the very end, or is still under way then.
REFUSALS = {"UNAVAILABLE", "CANCELLED"}
# The server's own bounds add up to less: drain_timeout_s, then batch_timeout_s.
EXIT_S = 15


async def exit_code(server: Server) -> int:
    """Wait until a server has ended."""
    return await asyncio.to_thread(server.process.wait, EXIT_S)


def terminate(server: Server) -> None:
    """Tell a server to stop."""
    server.process.send_signal(signal.SIGTERM)


async def reserve_until_refused(line: Line, chance: Random, acknowledged: set[str]) -> str:
    """Reserve until there is no verdict; return the status that came instead."""
    while True:
        reservation_id = str(UUID(int=chance.getrandbits(128), version=4))
        if (outcome := await line.reserve(reservation_id)) != "held":
            return outcome
        acknowledged.add(reservation_id)


def test_stopping_under_load(server: Server, database_url: str, seed: int) -> None:
    """A server that is stopped under load ends in time and well; what it acknowledged is there, and no call hangs."""
    chance = Random(seed)
    acknowledged: set[str] = set()
    refusals: Counter[str] = Counter()

    async def stop() -> None:
        async with line_to(server) as line:
            assert await line.reserve() == "held"
            workers = asyncio.gather(
                *(reserve_until_refused(line, Random(f"{seed}-{n}"), acknowledged) for n in range(WORKERS))
            )
            await asyncio.sleep(chance.uniform(0.2, 0.8))
            terminate(server)
            assert await exit_code(server) == 0
            refusals.update(await workers)

    asyncio.run(stop())
    assert refusals.keys() <= REFUSALS
    assert refusals["UNAVAILABLE"] > WORKERS / 2
    assert acknowledged
    # Also what was decided but not heard of may be there; nothing that was heard of may be missing.
    assert acknowledged <= reservation_ids(database_url)


def test_calls_under_way_are_answered(server: Server, database_url: str) -> None:
    """Calls that wait for a lock when the server is told to stop get their verdicts; later ones are refused."""

    async def stop() -> None:
        async with line_to(server) as line:
            assert await line.reserve() == "held"
            with locked(database_url):
                calls = [asyncio.create_task(line.reserve()) for _ in range(20)]
                await until_waiting(database_url)
                await asyncio.sleep(0.2)
                terminate(server)
                await asyncio.sleep(0.2)
                assert await line.reserve() in REFUSALS
                assert server.process.poll() is None
            assert {*await asyncio.gather(*calls)} == {"held"}
            assert await exit_code(server) == 0

    asyncio.run(stop())


def test_a_lock_that_stays_does_not_keep_it(database_url: str, start_server: ServerFactory) -> None:
    """Calls that cannot be settled within the drain timeout end without a verdict, and the server ends well."""
    server = start_server(database_url=database_url, GATEKEEPER_DRAIN_TIMEOUT_S="1", GATEKEEPER_BATCH_TIMEOUT_S="2")

    async def stop() -> None:
        async with line_to(server) as line:
            assert await line.reserve() == "held"
            with locked(database_url):
                calls = [asyncio.create_task(line.reserve()) for _ in range(20)]
                await until_waiting(database_url)
                terminate(server)
                assert await exit_code(server) == 0
                assert {*await asyncio.gather(*calls)} <= REFUSALS

    asyncio.run(stop())


def test_a_database_that_hangs_does_not_keep_it(
    breakable: EmbeddedPostgres, durable_url: str, start_server: ServerFactory
) -> None:
    """A server whose database hangs ends in time, and well, all the same."""
    server = start_server(database_url=durable_url, GATEKEEPER_DRAIN_TIMEOUT_S="1", **SETTINGS)

    async def stop() -> None:
        async with line_to(server) as line:
            assert await line.reserve() == "held"
            await asyncio.to_thread(hang, breakable)
            calls = [asyncio.create_task(line.reserve()) for _ in range(20)]
            await asyncio.sleep(0.5)
            terminate(server)
            assert await exit_code(server) == 0
            assert {*await asyncio.gather(*calls)} <= REFUSALS

    try:
        asyncio.run(stop())
    finally:
        wake(breakable)


def test_load_balancers_are_told_before(database_url: str, start_server: ServerFactory) -> None:
    """Within the drain delay the server says NOT_SERVING, and answers all the same."""
    server = start_server(database_url=database_url, GATEKEEPER_DRAIN_DELAY_S="1.5")

    async def stop() -> None:
        async with line_to(server) as line:
            assert await line.reserve() == "held"
            terminate(server)
            await line.until(NOT_SERVING)
            assert await line.reserve() == "held"
            assert await exit_code(server) == 0

    asyncio.run(stop())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_stops_at_once(server: Server, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end a server without calls, with exit code 0."""
    server.process.send_signal(number)
    assert server.process.wait(EXIT_S) == 0
