"""How is HTTP served beside gRPC, in the same event loop, and to whom?

Whoever reaches it reads the names of organizations and how their budgets are used, so it is for this machine unless
somebody says that the network is safe.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gatekeeper.addresses import ListenError, host_and_port, is_loopback

log = structlog.get_logger(__name__)

FORM = "give it as HOST:PORT, with [] around an IPv6 address"
OPEN_TO_ALL = (
    "over HTTP, whoever reaches it reads names and use of budgets, and is asked for no token; "
    "listen on 127.0.0.1:PORT, or set GATEKEEPER_HTTP_OPEN=1 where the network itself is safe"
)
UNKNOWN = "the host is not known"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

# Prometheus and a few probes; each connection takes some 10 kB.
CONNECTIONS_MAX = 64
HEAD_BYTES_MAX = 8192
# Longer than any answer takes, and than anybody sensible takes to ask.
CONNECTION_S_MAX = 15
IDLE_S_MAX = 5
STOP_S_MAX = 1


class _Protocol(H11Protocol):
    """HTTP on one connection, which lasts for a while only: uvicorn itself waits for ever for a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end = self.loop.call_later(CONNECTION_S_MAX, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    """A server that leaves signals alone: they are for all of the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def hosts_of(address: str, *, is_open: bool) -> Sequence[str]:
    """Return the names that a server on HOST:PORT goes by. Raises `ListenError` for one that others reach."""
    host, _ = host_and_port(address, FORM)
    try:
        is_local = is_loopback(host)
    except OSError as error:
        raise ListenError(address, UNKNOWN) from error
    if is_open:
        if not is_local:
            log.warning("http.open", address=address)
        return ("*",)
    if not is_local:
        raise ListenError(address, OPEN_TO_ALL)
    return (*LOCAL_HOSTS, host, f"[{host}]")


@asynccontextmanager
async def serving(app: ASGIApp, address: str) -> AsyncIterator[str]:
    """Serve on HOST:PORT; yield the address with the port that was taken. Raises `ListenError`."""
    listener = _listener(address)
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        timeout_keep_alive=IDLE_S_MAX,
        timeout_graceful_shutdown=STOP_S_MAX,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    task.add_done_callback(lambda _: server.listening.set())
    try:
        await server.listening.wait()
        if task.done():
            task.result()
        yield f"{address.rpartition(':')[0]}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def _listener(address: str) -> socket.socket:
    host, port = host_and_port(address, FORM)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(place[0]), int(place[1])), family=family)
    except OSError as error:
        raise ListenError(address, "the port is in use or not allowed; give another with --http") from error
