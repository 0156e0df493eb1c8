"""Does a watch outlive its connections? Both clients against a real server that breaks off where a script says so."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from gatekeeper_client import AsyncClient, Client, GatekeeperError, InternalError, NotFound, Overloaded, Unavailable
from gatekeeper_client.v1.budget_pb2 import BudgetStatus
from gatekeeper_client.v1.report_service_pb2 import WatchStatusRequest, WatchStatusResponse
from gatekeeper_client.watching import PAUSE_S_MAX, PAUSE_S_MIN, Comeback

if TYPE_CHECKING:
    from collections.abc import Iterator

SNAPSHOT = WatchStatusResponse(snapshot=True)
CHANGE = WatchStatusResponse(budgets=[BudgetStatus(period="2026-11")])
HEARD = [SNAPSHOT, CHANGE, SNAPSHOT, SNAPSHOT, SNAPSHOT, SNAPSHOT]

# What each connection says, and how it ends: by a status, or (None) by its caller.
Line = WatchStatusResponse | grpc.StatusCode | None
CONNECTIONS: list[list[Line]] = [
    [SNAPSHOT, CHANGE, grpc.StatusCode.UNAVAILABLE],
    [SNAPSHOT, grpc.StatusCode.CANCELLED],
    [SNAPSHOT, grpc.StatusCode.RESOURCE_EXHAUSTED],
    [SNAPSHOT, grpc.StatusCode.OK],
    [SNAPSHOT, None],
]


class Script(grpc.GenericRpcHandler):
    """A server that plays one list of lines to each watch."""

    def __init__(self) -> None:
        self.connections: list[list[Line]] = []
        self.asked: list[WatchStatusRequest] = []
        self.was_left = Event()

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_stream_rpc_method_handler(
            self.play, WatchStatusRequest.FromString, WatchStatusResponse.SerializeToString
        )

    def play(self, request: WatchStatusRequest, context: grpc.ServicerContext) -> Iterator[WatchStatusResponse]:
        self.asked.append(request)
        lines = self.connections.pop(0)
        # Told before the last line is said: a caller that leaves right after it is not played to any more.
        if None in lines and not context.add_callback(self.was_left.set):
            self.was_left.set()
        for line in lines:
            if isinstance(line, WatchStatusResponse):
                yield line
            elif line is None:
                self.was_left.wait(10)
            elif line is not grpc.StatusCode.OK:
                context.abort(line, "broken off")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def target(script: Script) -> Iterator[str]:
    """Play the script on a free port."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[script])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def anyio_backend() -> str:
    """Use asyncio, which grpc.aio is made for."""
    return "asyncio"


def test_a_watch_comes_back(script: Script, target: str) -> None:
    """However the server breaks off, it is asked again, and what it says goes on with a snapshot."""
    script.connections = list(CONNECTIONS)
    lost: list[GatekeeperError] = []
    with Client(target) as client:
        watch = client.watch_status("acme", on_lost=lost.append)
        assert [next(watch) for _ in HEARD] == HEARD
        watch.close()  # type: ignore[attr-defined]
        assert script.was_left.wait(10)
    assert script.asked == [WatchStatusRequest(organization="acme")] * 5
    assert [type(error) for error in lost] == [Unavailable, Unavailable, Overloaded, Unavailable]


@pytest.mark.anyio
async def test_a_watch_of_asyncio_comes_back(script: Script, target: str) -> None:
    """The same, without a thread for it."""
    script.connections = list(CONNECTIONS)
    lost: list[GatekeeperError] = []
    async with AsyncClient(target) as client:
        watch = client.watch_status("acme", on_lost=lost.append)
        assert [await anext(watch) for _ in HEARD] == HEARD
        await watch.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(script.was_left.wait, 10)
    assert [type(error) for error in lost] == [Unavailable, Unavailable, Overloaded, Unavailable]


def test_what_no_try_mends_is_raised(script: Script, target: str) -> None:
    """An organization that is not there, or a right that was taken away, ends the watch."""
    script.connections = [[SNAPSHOT, grpc.StatusCode.NOT_FOUND]]
    with Client(target) as client:
        watch = client.watch_status("acme")
        assert next(watch) == SNAPSHOT
        with pytest.raises(NotFound):
            next(watch)


@pytest.mark.anyio
async def test_a_server_that_was_never_heard_is_not_waited_for(script: Script, target: str) -> None:
    """Whoever named the wrong place is told so."""
    script.connections = [[grpc.StatusCode.UNAVAILABLE]] * 5
    async with AsyncClient(target) as client:
        with pytest.raises(Unavailable):
            await anext(client.watch_status("acme"))
    assert len(script.asked) == 5


def test_pauses_double_until_something_is_heard() -> None:
    """They end at five seconds, are never all the same, and the server's own wish goes before them."""
    comeback = Comeback(None)
    comeback.heard()
    away = Unavailable("away")
    pauses = [comeback.pause_s(away) for _ in range(10)]
    assert PAUSE_S_MIN / 2 <= pauses[0] <= PAUSE_S_MIN
    assert PAUSE_S_MAX / 2 <= pauses[-1] <= PAUSE_S_MAX
    comeback.heard()
    assert comeback.pause_s(away) <= PAUSE_S_MIN
    assert comeback.pause_s(Overloaded("full", retry_delay=timedelta(seconds=7))) == 7
    with pytest.raises(InternalError):
        comeback.pause_s(InternalError("a defect"))
