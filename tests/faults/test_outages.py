"""What do callers hear while PostgreSQL is away, and what must be done when it is back? That, at once; and nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper_client import AsyncClient, GatekeeperError
from tests.conftest import Server, ServerFactory

from .postgres import backends, hang, kill, send, wake

SETTINGS = {
    "GATEKEEPER_PROBE_INTERVAL_S": "0.2",
    "GATEKEEPER_STALLED_AFTER_S": "1",
    "GATEKEEPER_BATCH_TIMEOUT_S": "3",
}
# Far above what any answer takes: whoever gets none until then hangs.
HANGS_S = 20
# Generous: a refusal takes milliseconds, a return two or three seconds.
AT_ONCE_S = 2
RETURN_S = 15

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(kw_only=True)
class Line:
    """A line to one server, without retries."""

    channel: grpc.aio.Channel
    client: AsyncClient
    health: Any

    async def reserve(self, reservation_id: str = "") -> str:
        """Return "held", or the status that came instead."""
        reservation_id = reservation_id or str(uuid4())
        return await _outcome(self.client.reserve("acme", reservation_id=reservation_id, amount="0.10"), "held")

    async def read(self) -> str:
        """Return "read", or the status that came instead."""
        return await _outcome(self.client.get_status("acme", timeout_s=HANGS_S), "read")

    async def until(self, status: int) -> None:
        """Wait until the server's health has a status."""
        async with asyncio.timeout(RETURN_S):
            while (await self.health.Check(health_pb2.HealthCheckRequest(), timeout=HANGS_S)).status != status:
                await asyncio.sleep(0.05)


async def _outcome(call: Awaitable[object], fine: str) -> str:
    try:
        await call
    except GatekeeperError as error:
        return error.code.name
    return fine


@asynccontextmanager
async def line_to(server: Server) -> AsyncIterator[Line]:
    """Connect to a server without retries, so that each answer is seen."""
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.enable_retries", 0)]) as channel:
        client = AsyncClient(channel=channel, timeout_s=HANGS_S)
        health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        yield Line(channel=channel, client=client, health=health)


async def go_away(postgres: EmbeddedPostgres, how: str) -> None:
    """Shut PostgreSQL down, or let it hang."""
    await asyncio.to_thread(hang if how == "hangs" else EmbeddedPostgres.stop, postgres)


async def come_back(postgres: EmbeddedPostgres, how: str) -> None:
    """Start it, or let it go on."""
    await asyncio.to_thread(wake if how == "hangs" else EmbeddedPostgres.start, postgres)


@pytest.mark.parametrize("how", ["is stopped", "hangs"])
def test_an_outage(breakable: EmbeddedPostgres, durable_url: str, start_server: ServerFactory, how: str) -> None:
    """While PostgreSQL is away, every call is refused, soon at once; when it is back, the server serves by itself."""
    server = start_server(database_url=durable_url, **SETTINGS)

    async def outage() -> None:
        async with line_to(server) as line:
            assert (await line.reserve(), await line.read()) == ("held", "read")
            await go_away(breakable, how)
            ids = [str(uuid4()) for _ in range(40)]
            assert {*await asyncio.gather(*map(line.reserve, ids))} == {"UNAVAILABLE"}
            await line.until(NOT_SERVING)
            began = time.monotonic()
            refused = await asyncio.gather(*(line.reserve() for _ in range(100)), *(line.read() for _ in range(100)))
            assert ({*refused}, time.monotonic() - began < AT_ONCE_S) == ({"UNAVAILABLE"}, True)
            await come_back(breakable, how)
            await line.until(SERVING)
            assert {*await asyncio.gather(*map(line.reserve, ids))} == {"held"}
            assert {*await asyncio.gather(*(line.read() for _ in range(20)))} == {"read"}

    asyncio.run(outage())
    assert server.process.poll() is None


def test_connections_that_hang(durable_url: str, start_server: ServerFactory) -> None:
    """Behind a connection that hangs a bounded queue fills, others are refused at once, and nobody waits for ever."""
    server = start_server(
        database_url=durable_url, **SETTINGS | {"GATEKEEPER_QUEUE_MAX": "16", "GATEKEEPER_POOL_MAX": "1"}
    )
    hung = []

    async def outage() -> None:
        async with line_to(server) as line:
            assert await line.reserve() == "held"
            hung.extend(backends(durable_url, "gatekeeper-gate"))
            send(hung, signal.SIGSTOP)
            first = asyncio.create_task(line.reserve())
            await asyncio.sleep(0.2)
            began = time.monotonic()
            calls = [asyncio.create_task(line.reserve()) for _ in range(100)]
            await asyncio.wait(calls, timeout=AT_ONCE_S, return_when=asyncio.FIRST_COMPLETED)
            while sum(call.done() for call in calls) < 84:
                assert time.monotonic() - began < AT_ONCE_S
                await asyncio.sleep(0.01)
            refused = Counter(call.result() for call in calls if call.done())
            assert refused.keys() <= {"RESOURCE_EXHAUSTED", "UNAVAILABLE"}
            assert {await first, *await asyncio.gather(*calls)} <= {"RESOURCE_EXHAUSTED", "UNAVAILABLE", "held"}
            async with asyncio.timeout(RETURN_S):
                while await line.reserve() != "held":
                    await asyncio.sleep(0.1)

    try:
        asyncio.run(outage())
    finally:
        send(hung, signal.SIGCONT)


def test_a_restart_between_calls(
    breakable: EmbeddedPostgres, durable_url: str, start_server: ServerFactory, seed: int
) -> None:
    """Where PostgreSQL was killed and is back, no call hangs, and after seconds none is refused any more."""
    server = start_server(database_url=durable_url, **SETTINGS)

    async def restarts() -> None:
        async with line_to(server) as line:
            for way in ("postmaster", "backend"):
                await asyncio.gather(*(line.reserve() for _ in range(20)), *(line.read() for _ in range(20)))
                await asyncio.to_thread(kill, breakable, way, Random(seed))
                async with asyncio.timeout(RETURN_S):
                    while "UNAVAILABLE" in (outcomes := {await line.reserve(), await line.read()}):
                        await asyncio.sleep(0.1)
                assert outcomes == {"held", "read"}
                await line.until(SERVING)
                reads = await asyncio.gather(*(line.read() for _ in range(50)))
                assert {*reads, *await asyncio.gather(*(line.reserve() for _ in range(50)))} == {"held", "read"}

    asyncio.run(restarts())
    assert server.process.poll() is None
