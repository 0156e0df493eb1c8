"""What may a connection do to the server before anybody is asked who it is?"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from gatekeeper.rpc.listen import Transport
from gatekeeper.rpc.server import channel_options
from gatekeeper.rpc.tls import Certificates
from gatekeeper.settings import load_settings
from gatekeeper_client.channel import OPTIONS
from tests.integration.certificates import Authority
from tests.integration.echo import TIMEOUT_S, call, echoing, run

MESSAGE_BYTES_MAX, STREAMS_MAX = 65_536, 64
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1
ENHANCE_YOUR_CALM = 11
HEADER = struct.Struct("!HBBBI")  # the length comes in three bytes


class Connection:
    """An HTTP/2 connection without a client behind it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, kind: int, payload: bytes = b"", flags: int = 0) -> None:
        length = len(payload)
        self.writer.write(HEADER.pack(length >> 8, length & 255, kind, flags, 0) + payload)

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame's kind and payload; raises EOFError at the end."""
        high, low, kind, _flags, _stream = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        return kind, await self._reader.readexactly((high << 8) + low)

    async def goaway(self) -> int | None:
        """Return why the server sends it away; None if it just closes, or as soon as it does."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                while True:
                    kind, payload = await self.frame()
                    if kind == GOAWAY:
                        return int.from_bytes(payload[4:8])
            except (EOFError, ConnectionResetError):
                return None

    async def is_open(self) -> bool:
        """Tell whether a ping is answered."""
        async with asyncio.timeout(TIMEOUT_S):
            self.send(PING, bytes(8))
            try:
                while (await self.frame())[0] != PING:
                    pass
            except (EOFError, ConnectionResetError, BrokenPipeError):
                return False
        return True


@asynccontextmanager
async def connection_to(address: str) -> AsyncIterator[Connection]:
    """Open a connection, and begin as HTTP/2 does."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = Connection(reader, writer)
    writer.write(PREFACE)
    connection.send(SETTINGS)
    try:
        yield connection
    finally:
        writer.transport.abort()


def limited(**limits: Any) -> list[tuple[str, Any]]:
    """Return a server's options."""
    return list(channel_options(MESSAGE_BYTES_MAX, STREAMS_MAX, **limits))


def test_connections_at_a_time() -> None:
    """Above the limit a new connection is closed; those that are open stay, and one that ends makes room."""

    async def test() -> None:
        async with echoing(Transport(), options=limited(connections_max=2)) as echo:
            (address,) = echo.addresses
            async with connection_to(address) as first:
                async with connection_to(address) as second:
                    assert await first.is_open()
                    assert await second.is_open()
                    async with connection_to(address) as third:
                        assert not await third.is_open()
                    assert await first.is_open()
                await until_open(address)

    run(test())


async def until_open(address: str) -> None:
    """Wait until a new connection is taken."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            async with connection_to(address) as connection:
                if await connection.is_open():
                    return
            await asyncio.sleep(0.01)


def test_pings_that_come_too_fast() -> None:
    """The one after the second strike is answered by sending the connection away."""

    async def test() -> None:
        async with echoing(Transport(), options=limited(ping_interval_min_s=60)) as echo:
            async with connection_to(echo.addresses[0]) as hasty:
                for _ in range(5):
                    hasty.send(PING, bytes(8))
                assert await hasty.goaway() == ENHANCE_YOUR_CALM
            assert echo.calls == 0

    run(test())


def test_pings_that_are_far_enough_apart() -> None:
    """With and without calls under way they may come for ever, and are answered."""

    async def test() -> None:
        async with (
            echoing(Transport(), options=limited(ping_interval_min_s=0.02)) as echo,
            connection_to(echo.addresses[0]) as connection,
        ):
            for _ in range(10):
                assert await connection.is_open()
                await asyncio.sleep(0.03)

    run(test())


def test_our_own_client_is_never_sent_away() -> None:
    """It pings seldom enough by default; scaled down to milliseconds, it waits through fifty pings for one answer."""
    given = dict(OPTIONS)
    every_s = int(given["grpc.keepalive_time_ms"]) / 1000
    assert every_s >= 3 * load_settings().ping_interval_min_s
    assert not given.get("grpc.keepalive_permit_without_calls")

    async def test() -> None:
        scaled = given | {"grpc.keepalive_time_ms": 30, "grpc.use_local_subchannel_pool": 1}
        async with (
            echoing(Transport(), options=limited(ping_interval_min_s=0.01)) as echo,
            grpc.aio.insecure_channel(echo.addresses[0], options=list(scaled.items())) as channel,
        ):
            waiting = asyncio.create_task(call(channel, "Wait"))
            await asyncio.wait([waiting], timeout=1.5)
            assert not waiting.done()
            assert await call(channel, "Echo", b"still there") == b"still there"
            assert echo.calls == 2
            waiting.cancel()

    run(test())


def test_connections_without_calls() -> None:
    """A connection that is not used for so long is closed, pings or not; a client just opens another one."""

    async def test() -> None:
        async with (
            echoing(Transport(), options=limited(connection_idle_max_s=0.2)) as echo,
            connection_to(echo.addresses[0]) as idle,
            grpc.aio.insecure_channel(echo.addresses[0]) as channel,
        ):
            assert await call(channel, "Echo", b"once") == b"once"
            assert await idle.is_open()
            assert await idle.goaway() != ENHANCE_YOUR_CALM
            while channel.get_state() is grpc.ChannelConnectivity.READY:
                await asyncio.sleep(0.01)
            assert await call(channel, "Echo", b"again") == b"again"

    run(test())


def test_clients_that_are_gone() -> None:
    """One that does not answer pings is, and its connection is closed; calls of one that does are left alone."""

    async def test() -> None:
        async with (
            echoing(Transport(), options=limited(keepalive_s=0.1, keepalive_timeout_s=0.5)) as echo,
            grpc.aio.insecure_channel(echo.addresses[0]) as channel,
        ):
            waiting = asyncio.create_task(call(channel, "Wait"))
            for _ in range(2):
                async with connection_to(echo.addresses[0]) as silent:
                    await silent.goaway()
            assert not waiting.done()
            assert await call(channel, "Echo", b"still there") == b"still there"
            waiting.cancel()

    run(test())


def test_connections_have_an_age() -> None:
    """An old one is asked to end, which no call notices: neither one that is under way nor the ones after it."""

    async def test() -> None:
        async with (
            echoing(Transport(), options=limited(connection_age_max_s=0.3)) as echo,
            connection_to(echo.addresses[0]) as old,
            grpc.aio.insecure_channel(echo.addresses[0]) as channel,
        ):
            waiting = asyncio.create_task(call(channel, "Wait"))
            sent_away = asyncio.create_task(old.goaway())
            while not sent_away.done():
                assert await call(channel, "Echo", b"on time") == b"on time"
            assert sent_away.result() != ENHANCE_YOUR_CALM
            assert await call(channel, "Echo", b"later") == b"later"
            assert not waiting.done()
            waiting.cancel()

    run(test())


@pytest.mark.parametrize("encrypted", [False, True])
def test_connections_that_say_nothing(tmp_path: Path, *, encrypted: bool) -> None:
    """Who does not begin to speak HTTP/2, or TLS, is not waited for."""
    tls = Certificates(Authority().write(tmp_path, "localhost").tls, interval_s=1) if encrypted else None

    async def test() -> None:
        async with echoing(Transport(tls=tls), options=limited(handshake_timeout_s=0.2)) as echo:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(echo.addresses[0].rpartition(":")[2]))
            async with asyncio.timeout(TIMEOUT_S):
                await reader.read()
            assert reader.at_eof()
            writer.close()
            await writer.wait_closed()

    run(test())


def test_headers_that_are_too_long() -> None:
    """Up to 16 kB are read, always; more is refused, always."""

    async def test() -> None:
        async with (
            echoing(Transport(), options=limited()) as echo,
            grpc.aio.insecure_channel(echo.addresses[0]) as channel,
        ):
            for _ in range(20):
                assert await call(channel, "Echo", b"x", metadata=(("padding", "x" * 15_000),)) == b"x"
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(channel, metadata=(("padding", "x" * 16_384),))
                assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert echo.calls == 20

    run(test())


def test_messages_that_are_too_long() -> None:
    """A request above the limit is refused before it is handled."""

    async def test() -> None:
        async with (
            echoing(Transport(), options=limited()) as echo,
            grpc.aio.insecure_channel(echo.addresses[0]) as channel,
        ):
            assert len(await call(channel, "Echo", bytes(MESSAGE_BYTES_MAX))) == MESSAGE_BYTES_MAX
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(channel, "Echo", bytes(MESSAGE_BYTES_MAX + 1))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert echo.calls == 1

    run(test())
