"""Who gets through TLS, whom does a certificate stand for, and what happens when the files change?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from structlog.testing import capture_logs

from gatekeeper.rpc.listen import Transport
from gatekeeper.rpc.tls import Certificates, TlsFiles
from tests.conftest import Server, ServerFactory
from tests.integration.certificates import Authority, Files, Pair, credentials, spiffe, swap
from tests.integration.echo import LOOPS, TIMEOUT_S, call, echoing, run, until

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
# Channels of a process share connections unless told not to.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def channel_to(address: str, given: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """Open a channel with a connection of its own; without credentials, in the clear."""
    target = address.replace("127.0.0.1", "localhost")
    if given is None:
        return grpc.aio.insecure_channel(target, options=OWN_CONNECTION)
    return grpc.aio.secure_channel(target, given, options=OWN_CONNECTION)


async def ask(address: str, given: grpc.ChannelCredentials | None, method: str = "Echo") -> bytes:
    """Call once, over a new connection."""
    async with channel_to(address, given) as channel:
        return await call(channel, method, b"hello")


async def refused(address: str, given: grpc.ChannelCredentials | None) -> bool:
    """Tell whether a new connection comes to nothing."""
    try:
        await ask(address, given)
    except grpc.aio.AioRpcError as error:
        # gRPC tries until the call's time is over where it thinks that a handshake may yet succeed.
        assert error.code() in {UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        return True
    return False


def encrypted(files: TlsFiles) -> Transport:
    """Return a transport that looks at its files for every connection."""
    return Transport(tls=Certificates(files, interval_s=0))


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Return the authority of a module's servers and clients."""
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    """Return the files of a server called localhost."""
    return authority.write(tmp_path / "tls", "localhost")


@pytest.mark.parametrize("loop", LOOPS)
def test_calls_over_tls(authority: Authority, files: Files, loop: str) -> None:
    """Who trusts the server's authority is served, and stands for nobody without a certificate."""

    async def test() -> None:
        async with echoing(encrypted(files.tls)) as echo:
            assert await ask(echo.addresses[0], credentials(authority)) == b"hello"
            assert await ask(echo.addresses[0], credentials(authority), "Who") == b""

    run(test(), loop)


def test_every_port_speaks_tls(authority: Authority, files: Files, tmp_path: Path) -> None:
    """With TLS files no TCP address speaks plaintext; Unix sockets still do."""

    async def test() -> None:
        addresses = ("127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path}/s")
        async with echoing(encrypted(files.tls), *addresses) as echo:
            for address in echo.addresses[:2]:
                assert await refused(address, None)
                assert await refused(address, credentials(Authority()))
            assert echo.calls == 0
            for address in echo.addresses[:2]:
                assert await ask(address, credentials(authority)) == b"hello"
            assert await ask(echo.addresses[2], None) == b"hello"

    run(test())


def bad_certificates(authority: Authority) -> dict[str, Pair | None]:
    """Return what does not get through."""
    name = spiffe("agent")
    return {
        "none": None,
        "of another authority": Authority().issue(name),
        "expired": authority.issue(name, days=-1),
        "of a server": authority.issue(name, usage="server"),
    }


@pytest.mark.parametrize("kind", bad_certificates(Authority()))
def test_certificates_that_are_refused(authority: Authority, files: Files, kind: str) -> None:
    """With authorities for clients, the handshake fails without a good certificate of theirs: nothing is handled."""

    async def test() -> None:
        async with echoing(encrypted(files.mutual)) as echo:
            assert await refused(echo.addresses[0], credentials(authority, shown=bad_certificates(authority)[kind]))
            assert await refused(echo.addresses[0], None)
            assert echo.calls == 0
            good = credentials(authority, shown=authority.issue(spiffe("agent")))
            assert await ask(echo.addresses[0], good) == b"hello"

    run(test())


def uri(text: str) -> x509.GeneralName:
    """Return an URI as an alternative name."""
    return x509.UniformResourceIdentifier(text)


@pytest.mark.parametrize(
    ("names", "common_names", "identities"),
    [
        ([spiffe("a")], [], "spiffe://example.test/a"),
        ([spiffe("a"), x509.DNSName("a.example")], ["alice"], "spiffe://example.test/a CN=alice"),
        ([], ["alice"], "CN=alice"),
        ([], ["zoë, ops=1+CN=x"], "CN=zoë, ops=1+CN=x"),
        ([], ["x\\"], "CN=x\\"),
        # Two of a kind, or what only looks like one: nobody could tell which of them was meant.
        ([spiffe("a"), spiffe("b")], [], ""),
        ([], ["alice", "bob"], ""),
        ([], ["alice\0.example"], ""),
        ([], ["alice\n"], ""),
        ([uri("https://example.test/a"), x509.DNSName("spiffe://example.test/b")], [], ""),
        ([x509.RFC822Name("spiffe://example.test/c")], [], ""),
        ([], [], ""),
    ],
)
def test_identities(
    authority: Authority, files: Files, names: list[x509.GeneralName], common_names: list[str], identities: str
) -> None:
    """A verified certificate stands for its only SPIFFE ID, then for its only common name, and for nothing else."""
    shown = authority.issue(*names, common_names=common_names)

    async def test() -> None:
        async with echoing(encrypted(files.mutual)) as echo:
            answer = await ask(echo.addresses[0], credentials(authority, shown=shown), "Who")
            assert answer.decode().replace("\n", " ") == identities

    run(test())


def test_authorities_for_clients_change(authority: Authority, files: Files) -> None:
    """Once the file names another authority, certificates of the former one open no new connection."""
    next_one = Authority()
    former, latter = authority.issue(spiffe("former")), next_one.issue(spiffe("latter"))

    async def test() -> None:
        async with (
            echoing(encrypted(files.mutual)) as echo,
            channel_to(echo.addresses[0], credentials(authority, shown=former)) as steady,
        ):
            assert await call(steady, "Who") == b"spiffe://example.test/former"
            assert await refused(echo.addresses[0], credentials(authority, shown=latter))
            files.client_ca.write_bytes(next_one.pem)
            assert await refused(echo.addresses[0], credentials(authority, shown=former))
            answer = await ask(echo.addresses[0], credentials(authority, shown=latter), "Who")
            assert answer == b"spiffe://example.test/latter"
            # What is open stays open: it was good when it was made.
            assert await call(steady, "Who") == b"spiffe://example.test/former"

    run(test())


def events(logs: list[Any]) -> list[str]:
    """Return what was logged, in order."""
    return [line["event"] for line in logs]


def test_a_bad_set_keeps_the_good_one(authority: Authority, files: Files) -> None:
    """A set that cannot be used is refused and logged once, by its paths; the next good one is taken up."""
    good, other = files.certificate.read_bytes(), authority.server("localhost", common_name="next")

    async def test() -> None:
        async with echoing(encrypted(files.tls)) as echo:

            async def look() -> None:
                for _ in range(3):
                    assert await ask(echo.addresses[0], credentials(authority)) == b"hello"

            files.certificate.write_bytes(other.certificate)
            await look()
            assert events(logs) == ["tls.reload_failed"]
            files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")
            await look()
            files.certificate.unlink()
            await look()
            assert events(logs) == ["tls.reload_failed"] * 3
            files.certificate.write_bytes(other.certificate)
            files.key.write_bytes(other.key)
            await look()
            files.certificate.write_bytes(good)
            await look()

    with capture_logs() as logs:
        run(test())
    assert events(logs) == [*["tls.reload_failed"] * 3, "tls.reloaded", "tls.reload_failed"]
    assert logs[3]["subject"] == "commonName=next"
    assert logs[3]["expires_at"].startswith("20")
    for line in logs:
        assert "PRIVATE" not in str(line)
        assert str(files.certificate) in str(line) or line["event"] == "tls.reloaded"


def test_listeners_follow_the_files_together(authority: Authority, files: Files) -> None:
    """A new certificate is logged once and shown at every address."""
    next_one = Authority()

    async def test() -> None:
        async with echoing(encrypted(files.tls), "127.0.0.1:0", "127.0.0.1:0") as echo:
            next_one.write(files.certificate.parent, "localhost")
            for address in echo.addresses * 2:
                assert await ask(address, credentials(next_one)) == b"hello"
                assert await refused(address, credentials(authority))

    with capture_logs() as logs:
        run(test())
    assert events(logs) == ["tls.reloaded"]


def test_files_are_looked_at_seldom(authority: Authority, files: Files) -> None:
    """Within the interval a new connection does not read the files again."""

    async def test() -> None:
        async with echoing(Transport(tls=Certificates(files.tls, interval_s=3600))) as echo:
            Authority().write(files.certificate.parent, "localhost")
            assert await ask(echo.addresses[0], credentials(authority)) == b"hello"

    with capture_logs() as logs:
        run(test())
    assert not logs


async def check_health(channel: grpc.aio.Channel) -> None:
    """Call what needs neither token nor database."""
    stub: Any = HealthStub(channel)
    await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)


class Load:
    """Calls that go on while certificates change. `connections` counts new ones that were answered."""

    def __init__(self, address: str, given: grpc.ChannelCredentials) -> None:
        self._address = address
        self._given = given
        self.connections = 0
        self.steady_calls = 0

    async def connect_forever(self) -> None:
        while True:
            async with channel_to(self._address, self._given) as channel:
                await check_health(channel)
            self.connections += 1

    async def call_forever(self) -> None:
        async with channel_to(self._address, self._given) as channel:
            while True:
                await check_health(channel)
                self.steady_calls += 1
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def running(self, width: int) -> AsyncIterator[None]:
        """Keep calling inside; a call that fails ends it with its error."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.connect_forever()) for _ in range(width)]
            tasks.append(group.create_task(self.call_forever()))
            yield
            for task in tasks:
                task.cancel()


class Journal:
    """What a server process has logged about its TLS files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def count(self, event: str) -> int:
        lines = [json.loads(line) for line in self.path.read_text().splitlines() if line.startswith("{")]
        return sum(line["event"] == event for line in lines)

    async def next(self, event: str) -> None:
        """Wait until there is one more of an event than there was when it was asked for."""
        before = self.count(event)
        await until(lambda: self.count(event) > before)


async def rotate(load: Load, journal: Journal, live: Path, generations: list[Authority]) -> None:
    """Change the certificate in every way that people do, each as soon as the last one is in force."""
    for number in (1, 2):
        generations[number].write(live.parent / f"v{number}", "localhost")
        await changed(load, journal, "tls.reloaded", partial(swap, live, live.parent / f"v{number}"))
    third = generations[3].server("localhost")
    certificate, key = live / "tls.crt", live / "tls.key"
    await changed(load, journal, "tls.reload_failed", lambda: certificate.write_bytes(third.certificate[:200]))
    await changed(load, journal, "tls.reload_failed", lambda: certificate.write_bytes(third.certificate))
    await changed(load, journal, "tls.reloaded", lambda: key.write_bytes(third.key))
    generations[4].write(live.parent / "v4", "localhost")
    await changed(load, journal, "tls.reloaded", lambda: swap(live, live.parent / "v4"))


async def changed(load: Load, journal: Journal, event: str, change: Callable[[], Any]) -> None:
    """Change something, and wait until the server has said so and served on."""
    waiting = asyncio.create_task(journal.next(event))
    await asyncio.sleep(0)
    change()
    await waiting
    connections, calls = load.connections, load.steady_calls
    await until(lambda: load.connections > connections + 10 and load.steady_calls > calls + 10)


def test_reload_under_load(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """Certificates are swapped and rewritten five times while clients come, call and go: not one call fails."""
    generations = [Authority() for _ in range(5)]
    generations[0].write(tmp_path / "v0", "localhost")
    live = tmp_path / "live"
    swap(live, tmp_path / "v0")
    server = start_server(
        *("--tls-certificate", str(live / "tls.crt"), "--tls-key", str(live / "tls.key")),
        database_url=database_url,
        GATEKEEPER_TLS_RELOAD_INTERVAL_S="0.05",
    )
    journal = Journal(tmp_path / "server-0.log")

    async def test() -> None:
        load = Load(server.address, credentials(*generations))
        async with load.running(4):
            await until(lambda: load.connections > 10)
            await rotate(load, journal, live, generations)
        assert await is_served(server, credentials(generations[4]))
        assert not await is_served(server, credentials(*generations[:4]))

    run(test())
    assert (journal.count("tls.reloaded"), journal.count("tls.reload_failed")) == (4, 2)
    assert server.process.poll() is None
    for key in tmp_path.glob("v*/tls.key"):
        assert not set(key.read_text().splitlines()[1:-1]) & set(journal.path.read_text().split())


async def is_served(server: Server, given: grpc.ChannelCredentials) -> bool:
    """Tell whether a new connection is answered."""
    async with channel_to(server.address, given) as channel:
        try:
            await check_health(channel)
        except grpc.aio.AioRpcError as error:
            assert error.code() is UNAVAILABLE
            return False
    return True
