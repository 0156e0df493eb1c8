"""What answers in tests of the transport? A server that gives back what it gets, and tells who it takes to call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import uvloop

from gatekeeper.rpc.listen import Transport, listening
from gatekeeper.rpc.peers import Context, Peers

TIMEOUT_S = 20
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Echo:
    """A server that serves. `calls` counts what has reached a handler."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.peers = Peers()
        self.calls = 0

    async def echo(self, request: bytes, _context: Context) -> bytes:
        self.calls += 1
        return request

    async def who(self, _request: bytes, context: Context) -> bytes:
        self.calls += 1
        return "\n".join(self.peers.identities(context)).encode()

    async def wait(self, _request: bytes, _context: Context) -> bytes:
        self.calls += 1
        await asyncio.sleep(3600)
        return b""


@asynccontextmanager
async def echoing(
    transport: Transport, *addresses: str, options: Sequence[tuple[str, Any]] = ()
) -> AsyncIterator[Echo]:
    """Serve while it is open."""
    echo = Echo()
    server = grpc.aio.server(options=options)
    methods: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(getattr(echo, name.lower())) for name in ("Echo", "Who", "Wait")
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo.Echo", methods),))
    async with listening(server, addresses or ("127.0.0.1:0",), transport, echo.peers) as echo.addresses:
        await server.start()
        try:
            yield echo
        finally:
            await server.stop(0)


async def call(channel: grpc.aio.Channel, method: str = "Echo", request: bytes = b"", **options: Any) -> bytes:
    """Call a method, raising AioRpcError."""
    ask: Any = channel.unary_unary(f"/echo.Echo/{method}")
    answer: bytes = await ask(request, timeout=TIMEOUT_S, **options)
    return answer


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


def run(test: Coroutine[Any, Any, None], loop: str = "asyncio") -> None:
    """Run a test's coroutine on one of the loops that the server knows."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(test)
