"""Do the benchmark's callers at a pace keep it, whatever the server does?"""

from __future__ import annotations

import threading
import time
from collections import Counter

import grpc
import pytest

from benchmarks.pace import Pacer
from benchmarks.plan import Caller, Pace, Report
from gatekeeper.domain.errors import RateLimited
from gatekeeper_client.v1 import gatekeeper_service_pb2
from tests.unit.test_bench_load import answered, served


def paced(port: int, *callers: Caller, calls_per_s: float = 50, even: bool = False) -> Report:
    """Let callers call for 0.4 s."""
    begin_s = time.monotonic()
    pace = Pace(
        port=port, callers=callers, calls_per_s=calls_per_s, begin_s=begin_s, warm_up_s=0, seconds=0.4, even=even
    )
    return Pacer(pace).run()


@pytest.mark.parametrize("even", [True, False])
def test_callers_keep_their_pace_each_with_its_own_token(even: bool) -> None:
    """Each of two callers makes 50 calls a second for 0.4 s, about its own organization and with its own token."""
    seen: Counter[tuple[str, object]] = Counter()

    def noting(request: bytes, context: grpc.ServicerContext) -> bytes:
        organization = gatekeeper_service_pb2.ReserveRequest.FromString(request).organization
        seen[organization, dict(context.invocation_metadata())["authorization"]] += 1
        return answered(request, context)

    callers = [Caller(organization=name, token=f"gk_{name}") for name in ("a", "b")]
    with served(noting) as (port, _):
        report = paced(port, *callers, even=even)
    assert seen == {("a", "Bearer gk_a"): 20, ("b", "Bearer gk_b"): 20}
    assert (report.calls, report.admitted, report.errors) == (40, 40, 0)
    assert 0 < report.p50_ms <= report.p99_ms <= report.max_ms


def test_calls_at_a_pace_do_not_wait_for_answers() -> None:
    """A server that answers none of four calls before it has all of them gets all of them."""
    together = threading.Barrier(4, timeout=20)

    def waiting(request: bytes, context: grpc.ServicerContext) -> bytes:
        together.wait()
        return answered(request, context)

    with served(waiting) as (port, _):
        report = paced(port, Caller(organization="acme"), calls_per_s=10)
    assert (report.admitted, report.errors) == (4, 0)


def test_refusals_at_a_pace_are_counted_apart() -> None:
    """What a server says to a caller that calls too often is no error; anything else is."""
    problems = [str(RateLimited(rate="20"))] * 15 + ["away for tea"] * 5

    def refusing(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, problems.pop())

    with served(refusing) as (port, _):
        report = paced(port, Caller(organization="acme"))
    assert (report.calls, report.refused, report.errors, report.admitted) == (20, 15, 5, 0)
    assert "away for tea" in report.first_error
    assert 0 < report.refused_p50_ms <= report.refused_p99_ms
