"""What do those who watch notice of an outage of PostgreSQL? A pause, and then what has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import grpc
import pytest

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub
from tests.conftest import Server, ServerFactory

from .postgres import kill
from .test_outages import HANGS_S, NOT_SERVING, RETURN_S, SERVING, SETTINGS, come_back, go_away, line_to

T = TypeVar("T")
WAYS = pytest.mark.parametrize("way", ["postmaster", "all", "backend"])


class Watcher:
    """Somebody who watches through a server, and an admin who sets caps through it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Speak over a channel."""
        self._gatekeeper: Any = GatekeeperServiceStub(channel)
        self._reports: Any = ReportServiceStub(channel)

    def watch(self) -> Any:
        """Open a stream."""
        return self._reports.WatchStatus(report_pb.WatchStatusRequest(organization="acme"))

    async def cap(self, amount: int) -> None:
        """Set the cap, as soon as the server lets it be set."""
        request = pb.SetCapRequest(organization="acme", cap=to_money(amount, "USD"))
        await once_back(lambda: self._gatekeeper.SetCap(request, timeout=HANGS_S))


async def once_back(call: Callable[[], Awaitable[T]]) -> T:
    """Call as soon as the server answers again."""
    async with asyncio.timeout(RETURN_S):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.1)


@asynccontextmanager
async def watcher_of(server: Server) -> AsyncIterator[Watcher]:
    """Connect to a server without retries."""
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.enable_retries", 0)]) as channel:
        yield Watcher(channel)


async def cap_of(stream: Any) -> float:
    """Wait for the next message; return the cap in it."""
    async with asyncio.timeout(HANGS_S):
        message: report_pb.WatchStatusResponse = await stream.read()
    (status,) = message.budgets
    assert status.scope.kind == budget_pb2.SCOPE_KIND_ORGANIZATION
    return float(from_money(status.cap))


@WAYS
def test_a_restart_under_a_stream(
    breakable: EmbeddedPostgres, durable_url: str, start_server: ServerFactory, seed: int, way: str
) -> None:
    """The stream stays, and shows what is changed afterwards by its own server and by another one."""
    servers = [start_server(database_url=durable_url, **SETTINGS) for _ in range(2)]

    async def restart() -> None:
        async with watcher_of(servers[0]) as ours, watcher_of(servers[1]) as theirs:
            await ours.cap(1)
            stream = ours.watch()
            assert await cap_of(stream) == 1
            await asyncio.to_thread(kill, breakable, way, Random(seed))
            for watcher, cap in ((ours, 2), (theirs, 3)):
                await watcher.cap(cap)
                assert await cap_of(stream) == cap
            assert await once_back(lambda: cap_of(theirs.watch())) == 3

    asyncio.run(restart())


@pytest.mark.parametrize("how", ["is stopped", "hangs"])
def test_an_outage_under_a_stream(
    breakable: EmbeddedPostgres, durable_url: str, start_server: ServerFactory, how: str
) -> None:
    """While PostgreSQL is away the stream waits, and new ones are UNAVAILABLE; it goes on when PostgreSQL is back."""
    server = start_server(database_url=durable_url, **SETTINGS)

    async def outage() -> None:
        async with watcher_of(server) as watcher, line_to(server) as line:
            await watcher.cap(1)
            stream = watcher.watch()
            assert await cap_of(stream) == 1
            await go_away(breakable, how)
            await line.until(NOT_SERVING)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await cap_of(watcher.watch())
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            reading = asyncio.create_task(cap_of(stream))
            await asyncio.sleep(1)
            assert not reading.done()
            await come_back(breakable, how)
            await line.until(SERVING)
            await watcher.cap(2)
            assert await reading == 2

    asyncio.run(outage())
