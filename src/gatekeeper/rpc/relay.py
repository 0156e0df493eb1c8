"""Which user is at the other end of a Unix socket? gRPC does not ask the kernel; this asks, and passes the bytes on.

Clients connect to a socket of ours. For each, a connection is made to a socket that gRPC listens on and that has no
name any more, so that nobody else gets there. The connection's own end has a name, which gRPC gives as the call's peer:
`unix-abstract:gatekeeper.<random>.uid=<uid>`. Linux only.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import grpc
import structlog

from .peers import Peers
from .relay_names import bind, uid_of

log = structlog.get_logger(__name__)

# What the kernel says of a user that this process's user namespace does not know. It may be anybody.
OVERFLOW_UID = Path("/proc/sys/kernel/overflowuid")
# How long a client may take to read what was left for it when gRPC ended the connection.
LINGER_S = 5.0


def is_possible() -> bool:
    """Tell whether this system has what it takes: abstract names, descriptors that stand for files, credentials."""
    return sys.platform == "linux"


def hide(server: grpc.aio.Server) -> int:
    """Let a server listen on a socket without a name; return the descriptor that stands for its file.

    Raises `RuntimeError` or `OSError` where no socket can be made in the folder for temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        path = Path(folder, "s")
        server.add_insecure_port(f"unix:{path}")
        return os.open(path, os.O_PATH | os.O_CLOEXEC)


@asynccontextmanager
async def relaying(listener: socket.socket, inner: int, peers: Peers, connections_max: int) -> AsyncIterator[None]:
    """Pass on what comes to `listener` to a hidden socket, and tell `peers` who it is.

    More than `connections_max` connections at a time are closed at once.
    """
    relay = Relay(inner, peers, connections_max)
    accepting = await asyncio.get_running_loop().create_unix_server(relay.accept, sock=listener)
    try:
        yield
    finally:
        accepting.close()
        relay.close()


class Relay:
    """Connections of clients, each with one to the server behind it."""

    def __init__(self, inner: int, peers: Peers, connections_max: int) -> None:
        """Connect to what the descriptor `inner` stands for."""
        self._inner = f"/proc/self/fd/{inner}"
        self._peers = peers
        self._connections_max = connections_max
        self._unknown = int(OVERFLOW_UID.read_text())
        self._clients: set[Client] = set()

    def accept(self) -> Client:
        """Return what speaks to a new client."""
        return Client(self)

    def close(self) -> None:
        """End all connections at once."""
        for client in tuple(self._clients):
            client.transport.abort()

    def has_room_for(self, client: Client) -> bool:
        """Count a client in, unless there are too many."""
        if len(self._clients) >= self._connections_max:
            return False
        self._clients.add(client)
        return True

    def forget(self, client: Client) -> None:
        """Count a client out."""
        self._clients.discard(client)

    async def connect(self, client: Client, uid: int) -> None:
        """Connect a client to the server, under a name that tells who it is. The name never comes again."""
        try:
            await self._connect(client, uid)
        except OSError as error:
            # The server is stopping, or has as many connections waiting as it can have.
            log.warning("relay.failed", problem=error.strerror)
            client.transport.abort()

    async def _connect(self, client: Client, uid: int) -> None:
        inner = socket.socket(socket.AF_UNIX)
        peer = ""
        try:
            inner.setblocking(False)
            peer = f"unix-abstract:{bind(inner, uid)}"
            if uid != self._unknown:
                self._peers.add(peer, uid)
            inner.connect(self._inner)
            await asyncio.get_running_loop().create_unix_connection(
                lambda: Inside(client, self._peers, peer), sock=inner
            )
        except OSError:
            inner.close()
            self._peers.remove(peer)
            raise


class End(asyncio.Protocol):
    """One end of a relayed connection: what it reads, the other end writes, and no faster than that can be sent."""

    def __init__(self) -> None:
        """Have no other end yet."""
        self.other: End | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self.transport = cast("asyncio.Transport", transport)

    def join(self, other: End) -> None:
        """Pass on to another end what was read before there was one, and from now on everything."""
        self.other = other
        if self._early:
            # In this order: what is written may be too much at once, and then it pauses reading again.
            self.transport.resume_reading()
            other.transport.writelines(self._early)
            self._early.clear()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        if self.other is None:
            # Not paused any sooner: a new connection of uvloop's begins to read whatever it was told.
            self._early.append(data)
            self.transport.pause_reading()
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Read no more at the other end, until what it has read is sent."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again at the other end."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - either way, it is over
        """End the other end as well, once it has sent what is left."""
        if self.other is None or self.other.transport.is_closing():
            return
        self.other.transport.close()
        asyncio.get_running_loop().call_later(LINGER_S, self.other.transport.abort)


class Client(End):
    """The end at a client."""

    def __init__(self, relay: Relay) -> None:
        """Belong to a relay."""
        super().__init__()
        self._relay = relay
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is, and connect it."""
        super().connection_made(transport)
        if not self._relay.has_room_for(self):
            self.transport.abort()
            return
        uid = uid_of(transport.get_extra_info("socket"))
        self._connecting = asyncio.get_running_loop().create_task(self._relay.connect(self, uid))

    def join(self, other: End) -> None:
        """Pass on as well that no more will come."""
        super().join(other)
        if self._has_ended:
            other.transport.write_eof()

    def eof_received(self) -> bool:
        """Pass on that no more will come; answers still may. The server's end, though, is the connection's."""
        self._has_ended = True
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another client."""
        self._relay.forget(self)
        super().connection_lost(exc)


class Inside(End):
    """The end at the server."""

    def __init__(self, client: Client, peers: Peers, peer: str) -> None:
        """Serve a client, under a name."""
        super().__init__()
        self._client = client
        self._peers = peers
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the client, if it is still there."""
        super().connection_made(transport)
        if self._client.transport.is_closing():
            self.transport.abort()
            return
        self.join(self._client)
        self._client.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Vouch for nobody any more."""
        self._peers.remove(self._peer)
        super().connection_lost(exc)
