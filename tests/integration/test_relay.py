"""Does the relay in front of gRPC pass on every byte, and tell whose they are, for as long as they come?"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gatekeeper.rpc import relay
from gatekeeper.rpc.peers import Peers
from tests.integration.echo import LOOPS, TIMEOUT_S, run, until

SOMEBODY = 4321


@contextmanager
def effective(uid: int | None) -> Iterator[None]:
    """Be another user, for what is opened meanwhile."""
    if uid is not None:
        os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


class Inner:
    """What is behind a relay: a socket of the test's own. `peers` is what the relay tells."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "inner"
        self.outer = folder / "outer"
        self.peers = Peers()
        self.sockets = ExitStack()
        self.listener = self.sockets.enter_context(socket.socket(socket.AF_UNIX))
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.listener.setblocking(False)

    def let_all_in(self) -> None:
        self.outer.parent.chmod(0o755)
        self.outer.chmod(0o666)

    @asynccontextmanager
    async def relayed(self, connections_max: int = 10) -> AsyncIterator[None]:
        descriptor = os.open(self.path, os.O_PATH)
        self.sockets.callback(os.close, descriptor)
        outer = self.sockets.enter_context(socket.socket(socket.AF_UNIX))
        outer.bind(str(self.outer))
        with self.sockets:
            async with relay.relaying(outer, descriptor, self.peers, connections_max):
                yield
            await until(lambda: not len(self.peers))

    async def connect(self, uid: int | None = None) -> tuple[socket.socket, socket.socket, str]:
        """Return the end of a client, who may be another user, the server's end, and the name that the server sees."""
        client = self.sockets.enter_context(socket.socket(socket.AF_UNIX))
        with effective(uid):
            client.connect(str(self.outer))
        client.setblocking(False)
        server, name = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(self.listener), TIMEOUT_S)
        return client, self.sockets.enter_context(server), f"unix-abstract:{name[1:].decode()}"


@pytest.fixture
def inner() -> Iterator[Inner]:
    """Return what a relay may have behind it. Folders of pytest's own can have names too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        yield Inner(Path(folder))


@pytest.mark.parametrize("loop", LOOPS)
def test_names_cannot_be_guessed(inner: Inner, loop: str) -> None:
    """No part of a name but the user comes again, so that nobody can take those to come."""

    async def test() -> None:
        async with inner.relayed():
            names = [(await inner.connect())[2] for _ in range(3)]
            given = [re.fullmatch(r"unix-abstract:gatekeeper\.([0-9a-f]{32})\.uid=\d+", name) for name in names]
            assert len({match[1] for match in given if match}) == 3

    run(test(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_name_that_is_taken(inner: Inner, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is tried, once; the client notices nothing of the first, and is let go after the second."""
    parts = iter([inner.path.parent.name, "free", *[inner.path.parent.name] * 2])
    monkeypatch.setattr(secrets, "token_hex", lambda _size: next(parts))
    taken = inner.sockets.enter_context(socket.socket(socket.AF_UNIX))
    taken.bind(f"\0gatekeeper.{inner.path.parent.name}.uid={os.getuid()}")

    async def test() -> None:
        async with inner.relayed():
            client, server, name = await inner.connect()
            assert name == f"unix-abstract:gatekeeper.free.uid={os.getuid()}"
            await send(client, b"hello")
            assert await read(server) == b"hello"
            with socket.socket(socket.AF_UNIX) as unlucky:
                unlucky.connect(str(inner.outer))
                assert await read(unlucky) == b""
            client.close()

    run(test(), loop)
    assert list(parts) == []


root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")


@root_only
@pytest.mark.parametrize("loop", LOOPS)
def test_another_user(inner: Inner, loop: str) -> None:
    """The user is the one that the connecting process had; each name comes once, and goes with its connection."""

    async def test() -> None:
        async with inner.relayed():
            inner.let_all_in()
            client, server, name = await inner.connect(SOMEBODY)
            other, other_server, another = await inner.connect()
            assert name.endswith(f".uid={SOMEBODY}")
            assert another.endswith(".uid=0")
            assert inner.peers._uids == {name: SOMEBODY, another: 0}
            client.close()
            assert await read(server) == b""
            server.close()
            await until(lambda: inner.peers._uids == {another: 0})
            other_server.close()
            assert await read(other) == b""
            await until(lambda: not len(inner.peers))

    run(test(), loop)


@root_only
def test_a_user_that_the_kernel_cannot_name(inner: Inner) -> None:
    """The number that stands for all users of other namespaces is no identity."""
    unknown = int(relay.OVERFLOW_UID.read_text())

    async def test() -> None:
        async with inner.relayed():
            inner.let_all_in()
            client, _, name = await inner.connect(unknown)
            assert name.endswith(f".uid={unknown}")
            assert not len(inner.peers)
            client.close()

    run(test())


async def read(connection: socket.socket, size: int = 65_536) -> bytes:
    """Read what comes next."""
    connection.setblocking(False)
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(connection, size), TIMEOUT_S)


async def send(connection: socket.socket, content: bytes) -> None:
    """Send everything."""
    connection.setblocking(False)
    await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(connection, content), TIMEOUT_S)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_end_of_a_connection(inner: Inner, loop: str) -> None:
    """A client that has said all still hears the answer; what the server ends is over, whatever its client does."""

    async def test() -> None:
        async with inner.relayed():
            client, server, _ = await inner.connect()
            await send(client, b"all I say")
            client.shutdown(socket.SHUT_WR)
            assert await read(server) == b"all I say"
            assert await read(server) == b""
            await send(server, b"an answer")
            assert await read(client) == b"an answer"
            assert len(inner.peers) == 1
            server.close()
            assert await read(client) == b""
            await until(lambda: not len(inner.peers))

    run(test(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_was_said_before_leaving_arrives(inner: Inner, loop: str) -> None:
    """Whichever end closes, at once after it wrote, the other one gets all of it, then the end."""
    content = os.urandom(150_000)

    async def whole(connection: socket.socket) -> bytes:
        parts = []
        while part := await read(connection):
            parts.append(part)
        return b"".join(parts)

    async def test() -> None:
        async with inner.relayed():
            client, server, _ = await inner.connect()
            sending = asyncio.create_task(send(client, content))
            sending.add_done_callback(lambda _: client.close())
            assert await whole(server) == content
            server.close()
            client, server, _ = await inner.connect()
            sending = asyncio.create_task(send(server, content))
            sending.add_done_callback(lambda _: server.close())
            assert await whole(client) == content
            await until(lambda: not len(inner.peers))

    run(test(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_nothing_piles_up(inner: Inner, loop: str) -> None:
    """An end that does not read stops the other one from writing; when it reads, everything comes."""

    async def fill(connection: socket.socket) -> int:
        """Write until nothing more is taken for a while."""
        written = 0
        for _ in range(50):
            try:
                while True:
                    written += connection.send(bytes(65_536))
            except BlockingIOError:
                await asyncio.sleep(0.005)
        return written

    async def test() -> None:
        async with inner.relayed():
            ends: Any = await inner.connect()
            for writer, reader in (ends[:2], ends[1::-1]):
                writer.setblocking(False)
                written = await fill(writer)
                assert written < 4_000_000
                writer.shutdown(socket.SHUT_WR)
                arrived = 0
                while part := await read(reader, 1_000_000):
                    arrived += len(part)
                assert arrived == written

    run(test(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_that_does_not_read(inner: Inner, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server has ended a connection, its client cannot keep the place by not reading what is left."""
    monkeypatch.setattr(relay, "LINGER_S", 0.05)

    async def test() -> None:
        async with inner.relayed(connections_max=1):
            _idle, server, _ = await inner.connect()
            with suppress(BlockingIOError):
                while True:
                    server.setblocking(False)
                    server.send(bytes(65_536))
            server.close()
            await until(lambda: not len(inner.peers))
            while True:
                with suppress(TimeoutError, ConnectionResetError):
                    async with asyncio.timeout(0.1):
                        client, server, _ = await inner.connect()
                        break
            await send(client, b"my turn")
            assert await read(server) == b"my turn"
            server.close()

    run(test(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_is_gone(inner: Inner, loop: str) -> None:
    """A client that cannot be connected is let go, and nobody is vouched for."""

    async def test() -> None:
        async with inner.relayed():
            inner.listener.close()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(inner.outer))
                await send(client, b"anybody?")
                with suppress(ConnectionResetError):
                    assert await read(client) == b""
            await until(lambda: not len(inner.peers))

    with capture_logs() as logs:
        run(test(), loop)
    assert [line["event"] for line in logs] == ["relay.failed"]


@pytest.mark.parametrize("loop", LOOPS)
def test_clients_that_come_and_go(inner: Inner, loop: str) -> None:
    """Clients that hang up at any moment leave neither names nor descriptors behind."""

    async def test() -> None:
        async with inner.relayed(connections_max=100):
            before = descriptors()
            for number in range(200):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(inner.outer))
                    if number % 2:
                        await send(client, b"x")
                    if number % 3:
                        server, _ = await asyncio.get_running_loop().sock_accept(inner.listener)
                        server.close()
            inner_left = asyncio.create_task(drain(inner.listener))
            await until(lambda: not len(inner.peers) and descriptors() <= before)
            inner_left.cancel()

    run(test(), loop)


def descriptors() -> int:
    """Return how many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def drain(listener: socket.socket) -> None:
    """Take and close whatever waits."""
    while True:
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        connection.close()
