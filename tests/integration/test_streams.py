"""What may streams that end only when their caller wants cost a server, and what of its stop?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub, add_HealthServicer_to_server
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from gatekeeper.rpc.health import NOT_SERVING, REFLECTIONS_MAX, SERVING, WATCHES_MAX, Health
from gatekeeper.rpc.reflection import add_reflection
from tests.conftest import ServerFactory
from tests.integration.echo import LOOPS, TIMEOUT_S, run, until

# A stop that waited for streams would take so long.
DRAIN_TIMEOUT_S = 3600


@asynccontextmanager
async def serving(channels: int = 1) -> AsyncIterator[tuple[Health, grpc.aio.Server, list[grpc.aio.Channel]]]:
    """Serve health and reflection only."""
    health, server = Health(("a",)), grpc.aio.server()
    add_HealthServicer_to_server(health.servicer, server)
    add_reflection(server, ("a",), health.reflections)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await health.report({"database": True})
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, 0)
        options = [("grpc.use_local_subchannel_pool", 1)]
        yield (
            health,
            server,
            [
                await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options))
                for _ in range(channels)
            ],
        )


def watch(channel: grpc.aio.Channel, service: str = "") -> Any:
    """Watch a service."""
    stub: Any = HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)


def reflect(channel: grpc.aio.Channel, _service: str = "") -> Any:
    """Open a stream, ask one thing, and leave it open."""

    async def requests() -> AsyncIterator[ServerReflectionRequest]:
        yield ServerReflectionRequest(list_services="")
        await asyncio.sleep(TIMEOUT_S)

    make: Any = ServerReflectionStub
    return make(channel).ServerReflectionInfo(requests(), timeout=TIMEOUT_S)


KINDS = pytest.mark.parametrize(("opened", "most"), [(watch, WATCHES_MAX), (reflect, REFLECTIONS_MAX)])


@KINDS
def test_streams_have_a_bound(opened: Callable[..., Any], most: int) -> None:
    """One more than that is refused, from whichever connection; one that ends makes room."""

    async def test() -> None:
        async with serving(channels=3) as (health, _, (one, two, other)):
            streams = health.servicer.watches if opened is watch else health.reflections
            calls = [opened(one if number % 2 else two) for number in range(most)]
            for call in calls:
                await call.read()
            assert len(streams) == most
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await opened(other).read()
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            stub: Any = HealthStub(other)
            assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)).status == SERVING
            calls[0].cancel()
            await until(lambda: len(streams) < most)
            assert await opened(other).read()

    run(test())


@pytest.mark.parametrize("loop", LOOPS)
@KINDS
def test_a_stop_ends_them(opened: Callable[..., Any], most: int, loop: str) -> None:
    """Each hears what there is to hear, then that the server stops, which waits for none; no more are taken."""

    async def test() -> None:
        async with serving() as (health, server, (channel,)):
            calls = [opened(channel, service) for service in ("", "a", "b")][:most]
            for call in calls:
                await call.read()
            await health.withdraw()
            if opened is watch:
                assert [(await call.read()).status for call in calls[:2]] == [NOT_SERVING] * 2
            await health.end_streams()
            await health.end_streams()
            async with asyncio.timeout(TIMEOUT_S):
                for call in (*calls, opened(channel)):
                    assert await call.code() is grpc.StatusCode.UNAVAILABLE
                await server.stop(DRAIN_TIMEOUT_S)

    run(test(), loop)


@pytest.mark.parametrize("opened", [watch, reflect])
def test_a_stop_while_something_is_on_its_way(opened: Callable[..., Any]) -> None:
    """However far a message has come when the server stops, the caller hears that it stops."""

    async def status(passes: int) -> grpc.StatusCode:
        async with serving() as (health, _, (channel,)):
            call = opened(channel)
            streams = health.servicer.watches if opened is watch else health.reflections
            while not streams:
                await asyncio.sleep(0)
            for _ in range(passes):
                await asyncio.sleep(0)
            await health.end_streams()
            async with asyncio.timeout(TIMEOUT_S):
                try:
                    while await call.read():
                        pass
                except grpc.aio.AioRpcError as error:
                    return error.code()
            raise AssertionError

    async def test() -> None:
        assert {await status(passes) for passes in range(25)} == {grpc.StatusCode.UNAVAILABLE}

    run(test())


def test_a_watch_tells_each_change() -> None:
    """Those who watch hear of every change, of a service that there is not that it is unknown, and nothing twice."""

    async def test() -> None:
        async with serving() as (health, _, (channel,)):
            ours, unknown = watch(channel, "a"), watch(channel, "b")
            assert (await unknown.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            assert (await ours.read()).status == SERVING
            for fit in (True, False, False, True):
                await health.report({"database": fit})
            while len(health.servicer.watches) != 2:
                await asyncio.sleep(0)
            await health.report({"database": False})
            assert (await ours.read()).status == NOT_SERVING

    run(test())


def test_a_server_process_does_not_wait_for_them(start_server: ServerFactory, database_url: str) -> None:
    """With a watch and a reflection open, a server that is told to stop ends long before its drain timeout."""
    server = start_server(database_url=database_url, GATEKEEPER_DRAIN_TIMEOUT_S="60")

    async def test() -> None:
        async with grpc.aio.insecure_channel(server.address) as channel:
            calls = [watch(channel), reflect(channel)]
            for call in calls:
                await call.read()
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, TIMEOUT_S) == 0

    run(test())
