"""What does every stream keep to, whatever it tells? Who may hear it is asked all along, and nothing outlives it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from structlog.testing import CapturingLogger

from gatekeeper.domain import errors
from gatekeeper.domain.access import Caller, Role
from gatekeeper.rpc import boundary, stream_boundary
from gatekeeper.rpc.boundary import Boundary, CallInfo, reader
from gatekeeper.rpc.health import Health
from gatekeeper.rpc.request_limits import RequestLimits
from gatekeeper.rpc.shares import Shares
from gatekeeper.rpc.stream_boundary import guarded_stream
from gatekeeper.rpc.streams import Streams
from gatekeeper.rpc.validation import Validator
from gatekeeper_client.v1 import report_service_pb2 as pb
from tests.contract.refusals import Refusal, refusal_of
from tests.integration.echo import LOOPS, TIMEOUT_S, run, until

REPORT = pb.DESCRIPTOR.services_by_name["ReportService"]
VIEWER = Caller(caller_id="v", name="viewer", role=Role.VIEWER, organization="acme")
AGENT = Caller(caller_id="a", name="agent", role=Role.AGENT, organization="acme")
LARGE = bytes(1_000_000)


class Tale:
    """A server whose stream tells what the test says, to whom the test says."""

    def __init__(self) -> None:
        """Begin with one who may listen, and nothing to tell."""
        self.caller: Caller | Exception = VIEWER
        self.asked = 0
        self.told: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.streams = Streams(100)
        self.begun: Counter[str] = Counter()
        self.health = Health(())

    async def tell(self, request: pb.WatchStatusRequest, _info: CallInfo) -> Any:
        """Tell what there is to tell."""
        self.begun[request.organization] += 1
        try:
            while True:
                message = await self.told.get()
                if isinstance(message, StopIteration):
                    return
                if isinstance(message, Exception):
                    raise message
                yield message
        finally:
            self.begun[request.organization] -= 1

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of any stream."""
        return not len(self.streams) and not self.begun.total()


class Asked:
    """Stands for Authentication."""

    def __init__(self, tale: Tale) -> None:
        """Answer as the tale says."""
        self._tale = tale

    async def caller(self, _context: object) -> Caller:
        """Return who calls, or raise."""
        self._tale.asked += 1
        if isinstance(self._tale.caller, Exception):
            raise self._tale.caller
        return self._tale.caller


@asynccontextmanager
async def telling() -> AsyncIterator[tuple[Tale, Any, grpc.aio.Channel]]:
    """Serve a tale; yield it with what opens a stream, and the channel."""
    tale = Tale()
    asked: Any = Asked(tale)
    boundary = Boundary(
        admission=tale.health,
        authentication=asked,
        rates=None,
        limits=RequestLimits(),
        validator=Validator(),
        shares=Shares(),
    )
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(
        guarded_stream(tale.tell, REPORT.methods_by_name["WatchStatus"], boundary, tale.streams),
        request_deserializer=reader(pb.WatchStatusRequest.FromString),
    )
    server = grpc.aio.server()
    handlers: dict[str, Any] = {"WatchStatus": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(REPORT.full_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        method: Any = channel.unary_stream(f"/{REPORT.full_name}/WatchStatus")

        def listen(organization: str = "acme") -> Any:
            request = pb.WatchStatusRequest(organization=organization)
            return method(request.SerializeToString(), timeout=TIMEOUT_S)

        try:
            yield tale, listen, channel
        finally:
            await server.stop(0)


async def end_of(stream: Any) -> Refusal:
    """Return why a stream has ended."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            continue
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError


def test_a_stream_that_has_told_all_ends_well() -> None:
    """What it tells arrives in order, moments without anything to tell are not sent, and then it is OK."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            for message in (b"one", None, b"two", None, StopIteration()):
                tale.told.put_nowait(message)
            stream = listen()
            assert [message async for message in stream] == [b"one", b"two"]
            assert await stream.code() is grpc.StatusCode.OK
            assert tale.is_over

    run(test())


def test_a_stop_ends_streams_and_lets_none_in() -> None:
    """Both hear that the server stops, whatever they were waiting for."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            stream = listen()
            await until(lambda: len(tale.streams) == 1)
            tale.streams.end()
            assert {(await end_of(each)).reason for each in (stream, listen())} == {"DRAINING"}
            await until(lambda: tale.is_over)

    run(test())


@pytest.mark.parametrize(
    ("caller", "reason"),
    [
        (errors.TokenRevoked(), "TOKEN_REVOKED"),
        (errors.TokenExpired(expire_time="2026-11-20"), "TOKEN_EXPIRED"),
        (AGENT, "TOKEN_REVOKED"),
    ],
)
def test_nothing_is_told_to_whom_it_is_not_for(caller: Caller | Exception, reason: str) -> None:
    """Once the token is over, or its identity has become another's, what comes next is not sent any more."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            tale.told.put_nowait(b"one")
            stream = listen()
            assert await stream.read() == b"one"
            tale.caller = caller
            tale.told.put_nowait(b"secret")
            assert (await end_of(stream)).reason == reason
            await until(lambda: tale.is_over)

    run(test())


def test_whoever_cannot_be_asked_for_waits() -> None:
    """While nobody knows whether a token is still good, nothing is sent; afterwards it goes on."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            tale.told.put_nowait(b"one")
            stream = listen()
            assert await stream.read() == b"one"
            tale.caller, asked = errors.DatabaseUnavailable(), tale.asked
            tale.told.put_nowait(b"two")
            reading = asyncio.create_task(stream.read())
            await until(lambda: tale.asked > asked + 2)
            assert not reading.done()
            tale.caller = VIEWER
            assert await reading == b"two"

    run(test())


def test_who_may_listen_is_asked_before() -> None:
    """As of any call: the caller, its role and organization, the request, and whether the database is there."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            assert (await end_of(listen("globex"))).reason == "ORGANIZATION_NOT_FOUND"
            assert (await end_of(listen("\n"))).reason == "INVALID_FIELD"
            for caller, reason in ((AGENT, "ROLE_INSUFFICIENT"), (errors.TokenMissing(), "TOKEN_MISSING")):
                tale.caller = caller
                assert (await end_of(listen())).reason == reason
            tale.caller, tale.health.away = VIEWER, True
            assert (await end_of(listen())).reason == "DATABASE_UNAVAILABLE"
            assert tale.is_over

    run(test())


def test_what_is_unforeseen_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the stream as INTERNAL with a fixed text, and is in the log, once."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            tale.told.put_nowait(RuntimeError("sesame"))
            ended = await end_of(listen())
            assert (ended.code, ended.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
            assert "sesame" not in ended.message

    log = CapturingLogger()
    monkeypatch.setattr(boundary, "log", log)
    run(test())
    assert [(call.method_name, call.args) for call in log.calls] == [("error", ("rpc.internal",))]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("moment", ["waiting", "told", "writing"])
def test_nothing_is_left_of_those_who_vanish(loop: str, moment: str) -> None:
    """Whether they are waiting for something, have just been told, or do not read: no task and no place is kept."""

    async def test() -> None:
        async with telling() as (tale, listen, channel):
            before = len(asyncio.all_tasks())
            streams = [listen() for _ in range(20)]
            await until(lambda: tale.begun["acme"] == len(streams))
            for _ in range({"waiting": 0, "told": 20, "writing": 200}[moment]):
                tale.told.put_nowait(LARGE if moment == "writing" else b"one")
            if moment == "told":
                assert [await stream.read() for stream in streams] == [b"one"] * 20
            for stream in streams[:10]:
                stream.cancel()
            await until(lambda: len(tale.streams) == len(streams[10:]))
            await channel.close()
            await until(lambda: tale.is_over and len(asyncio.all_tasks()) <= before)

    run(test(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_whoever_leaves_in_the_middle_of_a_message_is_no_failure(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is in the log, whether gRPC says that the call is cancelled or that it takes no more."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            for _ in range(200):
                tale.told.put_nowait(LARGE)
            streams = [listen() for _ in range(10)]
            await until(lambda: tale.begun["acme"] == len(streams) and tale.told.qsize() <= 200 - len(streams))
            for stream in streams:
                stream.cancel()
            await until(lambda: tale.is_over)

    log = CapturingLogger()
    monkeypatch.setattr(boundary, "log", log)
    run(test(), loop)
    assert not log.calls


@pytest.mark.parametrize("before", [(), (b"one",)])
def test_whoever_does_not_read_is_not_served(before: Sequence[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells it ends; its place is taken until it has read what gRPC keeps for it, and then it hears why."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            for message in (*before, *[LARGE] * 200):
                tale.told.put_nowait(message)
            stream = listen()
            await until(lambda: tale.begun["acme"] == 1)
            await until(lambda: not tale.begun["acme"])
            assert len(tale.streams) == 1
            ended = await end_of(stream)
            assert (ended.code, ended.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
            await until(lambda: tale.is_over)

    monkeypatch.setattr(stream_boundary, "WRITE_TIMEOUT_S", 0.2)
    run(test())


def test_a_stop_does_not_wait_for_whoever_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is given back, and nothing is in the log."""

    async def test() -> None:
        async with telling() as (tale, listen, _):
            for _ in range(200):
                tale.told.put_nowait(LARGE)
            stream = listen()
            await until(lambda: tale.begun["acme"] == 1)
            await until(lambda: not tale.begun["acme"])
            tale.streams.end()
            await until(lambda: tale.is_over)
            assert not stream.done()

    monkeypatch.setattr(stream_boundary, "WRITE_TIMEOUT_S", 0.2)
    log = CapturingLogger()
    monkeypatch.setattr(boundary, "log", log)
    run(test())
    assert not log.calls
