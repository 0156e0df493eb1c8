"""What may many watch, slowly or only for a while, and what of it do a server and its callers notice?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from gatekeeper.rpc.stream_boundary import PARTY_STREAMS_MAX
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from gatekeeper_client.v1.admin_service_pb2_grpc import AdminServiceStub
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub
from tests.conftest import Server, ServerFactory
from tests.contract.refusals import Refusal, refusal_of
from tests.contract.secured import first_token
from tests.integration.echo import TIMEOUT_S, run

Code = grpc.StatusCode
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
# Lets the server send 64 kB to whoever reads nothing, however fast the connection is.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
# Budgets whose snapshot is several times as large.
MANY = 1000
ADD_BUDGETS = """
INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds)
SELECT %s, 'CAMPAIGN', repeat('x', 100) || n, 'MONTH', 1, 'ENFORCE', '{80}' FROM generate_series(1, %s) AS n
"""


class Line:
    """A connection to a server, as the bearer of a token."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        """Call by a channel."""
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._gatekeeper: Any = GatekeeperServiceStub(channel)
        self._reports: Any = ReportServiceStub(channel)

    async def cap(self, organization: str, amount: int) -> None:
        """Set an organization's cap."""
        request = pb.SetCapRequest(organization=organization, cap=to_money(amount, "USD"))
        await self._gatekeeper.SetCap(request, timeout=TIMEOUT_S, metadata=self._metadata)

    def watch(self, organization: str) -> Any:
        """Watch an organization."""
        request = report_pb.WatchStatusRequest(organization=organization)
        return self._reports.WatchStatus(request, metadata=self._metadata)


@asynccontextmanager
async def line_to(address: str, token: str = "") -> AsyncIterator[Line]:
    """Open a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=OWN_CONNECTION + SMALL_WINDOW) as channel:
        yield Line(channel, token)


async def cap_of(stream: Any) -> float:
    """Wait for the next message; return the cap of the organization, which must be in it."""
    async with asyncio.timeout(TIMEOUT_S):
        message = await stream.read()
    return float(from_money(message.budgets[0].cap))


async def refused(stream: Any) -> Refusal:
    """Read until a stream is refused, or ends with an error."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while await stream.read() is not grpc.aio.EOF:
                continue
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError


async def opened(watch: Callable[[], Any]) -> Any:
    """Watch once there is room, which may be a moment after others have left."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            stream = watch()
            try:
                await stream.read()
            except grpc.aio.AioRpcError as error:
                assert refusal_of(error).code is Code.RESOURCE_EXHAUSTED
            else:
                return stream


def test_a_change_made_by_another_server(start_server: ServerFactory, database_url: str) -> None:
    """Whichever process on the database makes it, all who watch see it."""
    servers = [start_server(database_url=database_url) for _ in range(2)]

    async def test() -> None:
        async with line_to(servers[0].address) as ours, line_to(servers[1].address) as theirs:
            await theirs.cap("acme", 1)
            streams = [ours.watch("acme"), theirs.watch("acme")]
            assert [await cap_of(stream) for stream in streams] == [1, 1]
            for line, cap in ((ours, 2), (theirs, 3)):
                await line.cap("acme", cap)
                assert [await cap_of(stream) for stream in streams] == [cap, cap]

    run(test())


def test_two_hundred_watch(server: Server, database_url: str) -> None:
    """Each of them, on some connections, sees each change once; they cost as many connections to PostgreSQL as one."""

    async def test() -> None:
        async with line_to(server.address) as one, line_to(server.address) as two:
            await one.cap("acme", 1)
            streams = [(one, two)[number % 2].watch("acme") for number in range(200)]
            assert {*await asyncio.gather(*map(cap_of, streams))} == {1}
            for cap in (2, 3):
                await one.cap("acme", cap)
                assert {*await asyncio.gather(*map(cap_of, streams))} == {cap}
            with psycopg.connect(database_url) as connection:
                found = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatekeeper-listen'"
                    " AND datname = current_database()"
                ).fetchone()
            assert found == (1,)

    run(test())


def test_nobody_waits_for_a_slow_reader(server: Server, database_url: str) -> None:
    """While one does not take its snapshot, others see every change; it sees the last of them, and none between."""

    async def test() -> None:
        async with line_to(server.address) as one, line_to(server.address) as other:
            await one.cap("acme", 1)
            with psycopg.connect(database_url) as connection:
                connection.execute(ADD_BUDGETS, ["acme", MANY - 1])
            slow, quick = one.watch("acme"), other.watch("acme")
            assert await cap_of(quick) == 1
            for cap in range(2, 8):
                await other.cap("acme", cap)
                assert await cap_of(quick) == cap
            caps = [await cap_of(slow)]
            while caps[-1] != 7:
                caps.append(await cap_of(slow))
            assert len(caps) < 7

    run(test())


def test_streams_have_a_bound(start_server: ServerFactory, database_url: str) -> None:
    """One more is refused with a time to come back; who leaves, or vanishes with its connection, makes room."""
    server = start_server(database_url=database_url, GATEKEEPER_WATCH_STREAMS_MAX="4")

    async def test() -> None:
        async with line_to(server.address) as line:
            await line.cap("acme", 1)
            for _ in range(5):
                async with line_to(server.address) as vanishing:
                    streams = [await opened(partial(vanishing.watch, "acme")) for _ in range(4)]
                    full = await refused(line.watch("acme"))
                    assert (full.code, full.reason) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
                    assert full.retry_delay_s == 1
                    streams[0].cancel()
                    (await opened(partial(line.watch, "acme"))).cancel()

    run(test())


@contextmanager
def another_process(address: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process watch, and kill it in the end."""
    command = [sys.executable, "-c", WATCHER, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        try:
            assert watcher.stdout is not None
            assert watcher.stdout.readline()
            yield watcher
        finally:
            watcher.kill()


def test_a_killed_watcher_makes_room(start_server: ServerFactory, database_url: str) -> None:
    """A process that is killed while it watches leaves its place to others."""
    server = start_server(database_url=database_url, GATEKEEPER_WATCH_STREAMS_MAX="1")

    async def test() -> None:
        async with line_to(server.address) as line:
            await line.cap("acme", 1)
            with another_process(server.address):
                assert (await refused(line.watch("acme"))).reason == "QUEUE_FULL"
            (await opened(partial(line.watch, "acme"))).cancel()

    run(test())


WATCHER = """
import sys, time, grpc
from gatekeeper_client.v1 import report_service_pb2 as pb
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub
stream = ReportServiceStub(grpc.insecure_channel(sys.argv[1])).WatchStatus(pb.WatchStatusRequest(organization="acme"))
next(stream)
print("watching", flush=True)
time.sleep(600)
"""


@pytest.fixture
def secured(start_server: ServerFactory, database_url: str) -> Server:
    """Start a server that asks for tokens."""
    return start_server(database_url=database_url, GATEKEEPER_INSECURE="0", GATEKEEPER_CALLS_PER_S_MAX="300")


async def viewer(address: str, operator: str, organization: str) -> str:
    """Open an organization, and make a viewer's token."""
    async with grpc.aio.insecure_channel(address) as channel:
        await Line(channel, operator).cap(organization, 1)
        stub: Any = AdminServiceStub(channel)
        request = admin_pb.CreateTokenRequest(organization=organization, name="viewer", role=admin_pb.ROLE_VIEWER)
        metadata = (("authorization", f"Bearer {operator}"),)
        answer = await stub.CreateToken(request, timeout=TIMEOUT_S, metadata=metadata)
    return str(answer.secret)


def test_one_organization_does_not_take_all_streams(secured: Server, database_url: str) -> None:
    """Its viewers have so many among them; those of another organization, and operators, still get in."""

    async def test() -> None:
        operator = await first_token(database_url)
        loud, calm = [await viewer(secured.address, operator, name) for name in ("loud", "calm")]
        async with (
            line_to(secured.address, loud) as many,
            line_to(secured.address, calm) as other,
            line_to(secured.address, operator) as above,
        ):
            streams = [many.watch("loud") for _ in range(PARTY_STREAMS_MAX)]
            assert {*await asyncio.gather(*map(cap_of, streams))} == {1}
            full = await refused(many.watch("loud"))
            assert (full.code, full.reason) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
            assert (await cap_of(other.watch("calm")), await cap_of(above.watch("loud"))) == (1, 1)

    run(test())


def test_whoever_opens_too_many_at_once_is_turned_away(start_server: ServerFactory, database_url: str) -> None:
    """Streams count as calls: a caller above its rate is refused, before anything of its request is read."""
    server = start_server(database_url=database_url, GATEKEEPER_INSECURE="0", GATEKEEPER_CALLS_PER_S_MAX="5")

    async def test() -> None:
        operator = await first_token(database_url)
        token = await viewer(server.address, operator, "acme")
        async with line_to(server.address, token) as line:
            answers = await asyncio.gather(*(first_or_refusal(line.watch("acme")) for _ in range(20)))
            reasons = [answer.reason for answer in answers if isinstance(answer, Refusal)]
            assert {*reasons} == {"RATE_LIMITED"}
            assert 0 < len(reasons) < len(answers)

    run(test())


async def first_or_refusal(stream: Any) -> Any:
    """Return the first message of a stream, or why there is none."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await stream.read()
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


def test_a_unix_socket_that_tells_who_calls(start_server: ServerFactory, database_url: str) -> None:
    """A stream goes through it as calls do, and the user behind it may watch as long as it has its role."""
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        address = f"unix:{Path(folder, 's')}"
        secured = start_server(
            "--listen", address, database_url=database_url, GATEKEEPER_INSECURE="0", GATEKEEPER_UNIX_PEERS="1"
        )

        async def test() -> None:
            operator = await first_token(database_url)
            async with line_to(secured.address, operator) as above, line_to(address) as line:
                await above.cap("acme", 1)
                metadata = (("authorization", f"Bearer {operator}"),)
                async with grpc.aio.insecure_channel(secured.address) as channel:
                    stub: Any = AdminServiceStub(channel)
                    request = admin_pb.CreateTokenRequest(
                        organization="acme", name="me", role=admin_pb.ROLE_VIEWER, identity=f"uid={os.getuid()}"
                    )
                    await stub.CreateToken(request, timeout=TIMEOUT_S, metadata=metadata)
                    stream = line.watch("acme")
                    assert await cap_of(stream) == 1
                    await above.cap("acme", 2)
                    assert await cap_of(stream) == 2
                    ended = admin_pb.RevokeTokenRequest(organization="acme", token="me", reason="gone")
                    await stub.RevokeToken(ended, timeout=TIMEOUT_S, metadata=metadata)
                    assert (await refused(stream)).code is Code.UNAUTHENTICATED

        run(test())


def test_a_stop_ends_streams(start_server: ServerFactory, database_url: str) -> None:
    """All hear at once that the server stops; one that reads nothing is waited for as long as any call, and cut."""
    server = start_server(database_url=database_url, GATEKEEPER_DRAIN_TIMEOUT_S="3")

    async def test() -> None:
        async with line_to(server.address) as line, line_to(server.address) as other:
            await line.cap("acme", 1)
            with psycopg.connect(database_url) as connection:
                connection.execute(ADD_BUDGETS, ["acme", MANY - 1])
            unread, streams = other.watch("acme"), [line.watch("acme") for _ in range(10)]
            assert {*await asyncio.gather(*map(cap_of, streams))} == {1}
            await line.cap("acme", 2)
            assert {*await asyncio.gather(*map(cap_of, streams))} == {2}
            server.process.terminate()
            endings = await asyncio.gather(*map(refused, streams))
            assert {(ending.code, ending.reason) for ending in endings} == {(Code.UNAVAILABLE, "DRAINING")}
            assert await asyncio.to_thread(server.process.wait, TIMEOUT_S) == 0
            unread.cancel()

    run(test())
