"""Does the benchmark's client count what the server saw?"""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from benchmarks.calls import EMPTY_PATH, Call, chain
from benchmarks.certificates import Certificates, certificates
from benchmarks.http2 import framed
from benchmarks.load import Load
from benchmarks.plan import NOBODY, Caller, Credentials, Pace, Plan, Report, read_pace, read_plan
from benchmarks.unary import CallFailedError, call
from gatekeeper_client.v1 import gatekeeper_service_pb2, reservation_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Behaviour = Callable[[bytes, grpc.ServicerContext], bytes]


@contextmanager
def served(behaviour: Behaviour, tls: grpc.ServerCredentials | None = None) -> Iterator[tuple[int, Counter[str]]]:
    """Serve one behaviour, bytes to bytes, for every method; yield the port and how often each was called."""
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            with lock:
                seen[details.method] += 1
            return grpc.unary_unary_rpc_method_handler(behaviour)

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handlers()])
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    server.start()
    try:
        yield port, seen
    finally:
        server.stop(None).wait()


def reservation_id(request: bytes) -> str:
    """Return the id of a reserve or a commit: in both it is the first field, as in a message of one text."""
    return StringValue.FromString(request).value


def answered(request: bytes, _: grpc.ServicerContext) -> bytes:
    """Admit a reserve or take a commit: both answers begin with the reservation."""
    held = reservation_pb2.Reservation(reservation_id=reservation_id(request))
    return gatekeeper_service_pb2.ReserveResponse(reservation=held).SerializeToString()


def loaded(port: int, name: str, *, count: int, in_flight: int = 8, credentials: Credentials = NOBODY) -> Report:
    """Run a chain so many times."""
    plan = Plan(port=port, chain=name, organization="acme", credentials=credentials, count=count, in_flight=in_flight)
    return Load(plan, chain(name, "acme")).run()


def mutual_tls(files: Certificates) -> grpc.ServerCredentials:
    """Show the server's certificate, and ask for one of the same authority."""
    key, chain_, ca = (Path(name).read_bytes() for name in (files.server_key, files.server, files.ca))
    return grpc.ssl_server_credentials([(key, chain_)], ca, require_client_auth=True)


@pytest.mark.parametrize("in_flight", [1, 100])
def test_calls_are_counted_as_the_server_counts_them(in_flight: int) -> None:
    """Over one connection or two, every call is sent once, and its answer counted once."""
    with served(lambda request, _: request) as (port, seen):
        report = loaded(port, "empty", count=300, in_flight=in_flight)
    assert (report.calls, report.admitted, report.errors, report.chains) == (300, 300, 0, 300)
    assert seen == {EMPTY_PATH.decode(): 300}
    assert 0 < report.p50_ms <= report.p99_ms <= report.max_ms


def test_each_reserve_has_an_id_of_its_own_and_is_committed_under_it() -> None:
    """A cycle reserves under a new UUIDv7 and commits the same one."""
    ids: Counter[str] = Counter()

    def noting(request: bytes, context: grpc.ServicerContext) -> bytes:
        ids[reservation_id(request)] += 1
        return answered(request, context)

    with served(noting) as (port, seen):
        report = loaded(port, "cycle", count=200)
    assert report.errors == 0
    assert report.chains == 200
    assert sorted(seen.values()) == [200, 200]
    assert set(ids.values()) == {2}
    assert {uuid.UUID(each).version for each in ids} == {7}


def test_errors_are_counted_as_errors() -> None:
    """A status other than OK is an error, and the report says which came first."""

    def refusing(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.UNAVAILABLE, "away for tea")

    with served(refusing) as (port, _):
        report = loaded(port, "reserve", count=50)
    assert (report.errors, report.admitted, report.chains) == (50, 0, 0)
    assert "away for tea" in report.first_error


def test_denials_are_counted_apart() -> None:
    """A denial is neither an error nor a finished chain."""
    denial = gatekeeper_service_pb2.ReserveResponse(denial=reservation_pb2.Denial(message="no")).SerializeToString()
    with served(lambda *_: denial) as (port, _):
        report = loaded(port, "reserve", count=50)
    assert (report.denied, report.errors, report.chains) == (50, 0, 0)


def test_an_answer_about_another_reservation_is_an_error() -> None:
    """Answers are sampled and decoded in full: one about another id does not pass."""
    held = reservation_pb2.Reservation(reservation_id="another")
    wrong = gatekeeper_service_pb2.ReserveResponse(reservation=held).SerializeToString()
    with served(lambda *_: wrong) as (port, _):
        report = loaded(port, "reserve", count=200)
    assert report.errors == 200 // 64
    assert "another reservation" in report.first_error


def test_the_servers_window_is_respected() -> None:
    """More bytes in flight than the connection's window: what does not fit waits, and all of it arrives."""
    large = Call(path=EMPTY_PATH, head=framed(b"x" * 10_000), tails=(), answer=None)
    sizes: Counter[int] = Counter()

    def measuring(request: bytes, _: grpc.ServicerContext) -> bytes:
        sizes[len(request)] += 1
        return request

    with served(measuring) as (port, _):
        report = Load(Plan(port=port, chain="empty", count=200, in_flight=32), [large]).run()
    assert (report.chains, report.errors) == (200, 0)
    assert sizes == {10_000: 200}


def test_a_lost_connection_ends_the_load() -> None:
    """All calls in flight become errors when the server hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller = ThreadPoolExecutor(1).submit(listener.accept)
        caller.add_done_callback(lambda accepted: accepted.result()[0].close())
        report = loaded(listener.getsockname()[1], "empty", count=50, in_flight=8)
    assert report.errors == 8
    assert "connection lost" in report.first_error


def test_a_single_call_returns_its_answer_or_raises() -> None:
    """The client for single calls returns the message, and raises on a status other than OK."""

    def picky(request: bytes, context: grpc.ServicerContext) -> bytes:
        if not request:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "nothing in it")
        return request

    with served(picky) as (port, _):
        assert call(port, EMPTY_PATH, b"hello") == b"hello"
        with pytest.raises(CallFailedError, match="nothing in it"):
            call(port, EMPTY_PATH, b"")


def test_the_token_goes_with_every_call() -> None:
    """On every connection and with every kind of call, the server sees the token."""
    seen: Counter[object] = Counter()

    def noting(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen[dict(context.invocation_metadata())["authorization"]] += 1
        return answered(request, context)

    with served(noting) as (port, _):
        report = loaded(port, "cycle", count=150, in_flight=100, credentials=Credentials(token="gk_secret"))
    assert (report.chains, report.errors) == (150, 0)
    assert seen == {"Bearer gk_secret": 300}


@pytest.mark.parametrize("in_flight", [1, 100])
def test_a_certificate_is_shown_over_tls(tmp_path: Path, in_flight: int) -> None:
    """The server sees whose certificate it is, and all calls are answered."""
    files = certificates(tmp_path, "bench-agent")
    credentials = Credentials(ca_file=files.ca, certificate_file=files.agent, key_file=files.agent_key)
    names: set[bytes] = set()

    def noting(request: bytes, context: grpc.ServicerContext) -> bytes:
        names.update(cast("list[bytes]", context.auth_context()["x509_common_name"]))  # mistyped upstream
        return request

    with served(noting, mutual_tls(files)) as (port, _):
        report = loaded(port, "empty", count=300, in_flight=in_flight, credentials=credentials)
    assert (report.admitted, report.errors) == (300, 0)
    assert names == {b"bench-agent"}


def test_a_server_of_another_authority_is_not_called(tmp_path: Path) -> None:
    """A certificate that the client's authorities have not issued ends the connection before any call."""
    files, others = (certificates(folder, "agent") for folder in (tmp_path / "a", tmp_path / "b"))
    with served(lambda request, _: request, mutual_tls(files)) as (port, seen):
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            call(port, EMPTY_PATH, b"", Credentials(ca_file=others.ca))
        assert not seen


def test_plans_come_out_of_json_as_they_went_in() -> None:
    """What a process is told to do is what was meant, credentials included."""
    plan = Plan(port=1, chain="cycle", credentials=Credentials(token="gk_a", ca_file="ca.pem"), watched=())
    pace = Pace(port=1, callers=(Caller(organization="a", token="gk_a"),), calls_per_s=2, begin_s=3)
    assert asdict(read_plan(json.dumps(asdict(plan)))) == json.loads(json.dumps(asdict(plan))) | {"watched": []}
    assert read_pace(json.dumps(asdict(pace))) == pace
