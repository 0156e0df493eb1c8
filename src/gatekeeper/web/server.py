"""How is HTTP served beside gRPC, in the same event loop, and to whom?

Whoever reaches it reads the names of organizations and how their budgets are used, so it is for this machine unless
somebody says that the network is safe.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
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

# Prometheus and a few probes; each connection takes some 10 kB. Where there are more, the oldest that asks for nothing
# gives way, so that whoever asks is answered.
CONNECTIONS_MAX = 64
# Those that wait to be taken, and are taken at once.
BACKLOG = 64
HEAD_BYTES_MAX = 8192
# Longer than any answer takes, and than anybody sensible takes to ask.
CONNECTION_S_MAX = 15
# Nobody sensible takes as long to say what is asked for.
HEAD_S_MAX = 2
IDLE_S_MAX = 5
STOP_S_MAX = 1


class _Protocol(H11Protocol):
    """HTTP on one connection, which lasts for a while only: uvicorn itself waits for ever for a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._made_at = self.loop.time()
        self._ends = [
            self.loop.call_later(CONNECTION_S_MAX, transport.abort),
            self.loop.call_later(HEAD_S_MAX, self._end_unasked),
        ]
        if len(self.connections) > CONNECTIONS_MAX:
            _give_way(each for each in self.connections if isinstance(each, _Protocol) and each is not self)

    def connection_lost(self, exc: Exception | None) -> None:
        for end in self._ends:
            end.cancel()
        super().connection_lost(exc)

    @property
    def precedence(self) -> tuple[bool, float]:
        """What counts where one has to give way: being answered, then having come later."""
        return self.cycle is not None and not self.cycle.response_complete, self._made_at

    def end_now(self) -> None:
        """Close it, and count it no more."""
        self.connections.discard(self)
        self.transport.abort()

    def _end_unasked(self) -> None:
        if self.cycle is None:
            self.transport.abort()


def _give_way(others: Iterable[_Protocol]) -> None:
    min(others, key=lambda each: each.precedence).end_now()


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
    if is_local:
        return (*LOCAL_HOSTS, host, f"[{host}]")
    if not is_open:
        raise ListenError(address, OPEN_TO_ALL)
    log.warning("http.open", address=address)
    return ("*",)


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
        backlog=BACKLOG,
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
