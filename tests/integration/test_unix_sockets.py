"""Who gets through a Unix socket, and who is it? Nothing may be lost on the way, and nothing be left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gatekeeper.addresses import ListenError
from gatekeeper.rpc.listen import Transport
from tests.integration.echo import LOOPS, call, echoing, run, until

PEERS = Transport(unix_peers=True)
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
UNLIMITED = (("grpc.max_receive_message_length", -1),)
ME = f"uid={os.getuid()}".encode()


@pytest.fixture
def path() -> Iterator[Path]:
    """Return where a socket may be: pytest's own folders can have names too long for one."""
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        yield Path(folder, "s")


def mode_of(path: Path) -> int:
    """Return a file's mode."""
    return stat.S_IMODE(path.stat().st_mode)


def replace(path: Path, text: str) -> None:
    """Put a file in the place of another."""
    path.unlink()
    path.write_text(text)


def channel_to(path: Path) -> grpc.aio.Channel:
    """Open a channel with a connection of its own."""
    return grpc.aio.insecure_channel(f"unix:{path}", options=(*OWN_CONNECTION, *UNLIMITED))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("transport", [Transport(unix_mode=0o660), Transport(unix_mode=0o660, unix_peers=True)])
def test_a_socket_and_its_mode(path: Path, loop: str, transport: Transport) -> None:
    """The file has its mode from the start, and goes with the server; who calls is told only where that is set."""

    async def test() -> None:
        async with echoing(transport, f"unix:{path}"), channel_to(path) as channel:
            assert mode_of(path) == 0o660
            assert await call(channel, "Who") == (ME if transport.unix_peers else b"")

    run(test(), loop)
    assert not path.exists()


def test_a_socket_with_peers_is_taken_over_like_any_other(path: Path) -> None:
    """What a crash left is replaced, what answers is not, and who comes later keeps the file of the one before it."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def test() -> None:
        async with echoing(PEERS, f"unix:{path}"), channel_to(path) as channel:
            with pytest.raises(ListenError, match="another server answers there"):
                async with echoing(PEERS, f"unix:{path}"):
                    pass
            assert await call(channel, "Who") == ME
            replace(path, "somebody else's")

    run(test())
    assert path.read_text() == "somebody else's"


def test_a_system_that_does_not_tell(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not say who calls, --unix-peers is refused, and nothing is made."""
    monkeypatch.setattr(sys, "platform", "darwin")

    async def test() -> None:
        with pytest.raises(ListenError, match="only Linux tells which user calls"):
            async with echoing(PEERS, f"unix:{path}"):
                pass

    run(test())
    assert not path.exists()


@pytest.mark.parametrize("loop", LOOPS)
def test_calls_side_by_side(path: Path, loop: str) -> None:
    """A hundred calls at once on forty connections, up to four megabytes each, come back whole and with their user."""

    async def one(channel: grpc.aio.Channel, size: int) -> None:
        sent = os.urandom(size)
        assert hashlib.sha256(await call(channel, "Echo", sent)).digest() == hashlib.sha256(sent).digest()
        assert await call(channel, "Who") == ME

    async def test() -> None:
        async with echoing(PEERS, f"unix:{path}", options=UNLIMITED) as echo:
            channels = [channel_to(path) for _ in range(40)]
            sizes = [4_000_000] * 10 + [100_000] * 40 + [100] * 50
            await asyncio.gather(*(one(channels[i % 40], size) for i, size in enumerate(sizes)))
            assert len(echo.peers) == 40
            for channel in channels:
                await channel.close()
            await until(lambda: not len(echo.peers))

    run(test(), loop)


def test_no_more_connections_than_that(path: Path) -> None:
    """Above the limit a connection is closed at once; one that ends makes room."""
    transport = Transport(unix_peers=True, connections_max=2)

    async def test() -> None:
        async with echoing(transport, f"unix:{path}") as echo, channel_to(path) as first:
            async with channel_to(path) as second:
                for channel in (first, second):
                    assert await call(channel, "Who") == ME
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    async with channel_to(path) as third:
                        await call(third)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            await until(lambda: len(echo.peers) == 1)
            async with channel_to(path) as next_one:
                assert await call(next_one, "Who") == ME

    run(test())


def hidden_socket() -> Path:
    """Return what stands for the socket behind a relay in this process."""
    (found,) = (link for link in Path("/proc/self/fd").iterdir() if is_hidden_socket(link))
    return found


def is_hidden_socket(link: Path) -> bool:
    """Tell whether a descriptor stands for a socket's file that is no more."""
    try:
        return link.is_socket() and str(link.readlink()).endswith("/s (deleted)")
    except OSError:
        return False


def test_strangers_have_no_way_around(path: Path) -> None:
    """What is behind the relay has no name to connect to. This user can still get there: as nobody, with any name."""

    async def test() -> None:
        async with echoing(PEERS, f"unix:{path}") as echo, channel_to(path) as channel:
            assert await call(channel, "Who") == ME
            inner = str(hidden_socket())
            (mine,) = echo.peers._uids
            for name in ("", "\0gatekeeper.0.1.uid=0", f"\0{mine.removeprefix('unix-abstract:')}0"):
                assert await ask_around(inner, name) == b""

    run(test())


async def ask_around(inner: str, name: str) -> bytes:
    """Ask who one is at a socket, through a connection from an end with that name."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.bind(name)
        connection.connect(inner)
        there, back = await asyncio.open_unix_connection(sock=connection)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as forwarder:
        port = forwarder.sockets[0].getsockname()[1]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OWN_CONNECTION) as channel:
            answer = await call(channel, "Who")
        await asyncio.sleep(0.05)
    return answer


def test_another_name_does_not_help(path: Path) -> None:
    """A client's own end may have any name; who it is, the kernel says."""

    async def test() -> None:
        async with echoing(PEERS, f"unix:{path}"):
            assert await ask_around(str(path), "\0gatekeeper.0.1.uid=0") == ME
        async with echoing(Transport(), f"unix:{path}"):
            assert await ask_around(str(path), "\0gatekeeper.0.2.uid=0") == b""

    run(test())
