"""Does each call become a span, where that is asked for?"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gatekeeper_client import AsyncClient, Client, GatekeeperError
from tests.conftest import ServerFactory, served_url, server_environment
from tests.contract.wire import until
from tests.integration.observing import Watched, watching
from tests.integration.span_receiver import Received, attributes, receiving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVICE = "gatekeeper.v1.GatekeeperService"
MISSING = "raise ImportError('not installed')\n"


@pytest.fixture
def received() -> Iterator[Received]:
    """Return what spans arrive."""
    with receiving() as received:
        yield received


Traced = Callable[..., Watched]


@pytest.fixture
def traced(start_server: ServerFactory, database_url: str, tmp_path: Path, received: Received) -> Traced:
    """Return what starts servers that send their spans there."""

    def start(**environment: str) -> Watched:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **environment}
        return watching(start_server, database_url, tmp_path)(GATEKEEPER_OTEL="1", **given)

    return start


def spans(received: Received, count: int) -> list[Span]:
    """Return the spans, once there are so many."""
    until(lambda: len(received.spans()) >= count)
    assert len(received.spans()) == count
    return received.spans()


def test_each_call_is_a_span(traced: Traced, received: Received) -> None:
    """Of the server, named after its RPC, with status, verdict and organization; its process says which one it is."""
    watched = traced(GATEKEEPER_INSTANCE="here:1")
    with Client(watched.server.address) as client:
        client.set_cap("acme", cap="1")
        client.reserve("acme", amount="2")
        with pytest.raises(GatekeeperError):
            client.get_status("nobody")
    capped, denied, failed = spans(received, 3)
    assert [span.name for span in (capped, denied, failed)] == [
        f"{SERVICE}/{rpc}" for rpc in ("SetCap", "Reserve", "GetStatus")
    ]
    assert {span.kind for span in (capped, denied, failed)} == {Span.SPAN_KIND_SERVER}
    assert attributes(denied) == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE,
        "rpc.method": "Reserve",
        "rpc.grpc.status_code": 0,
        "gatekeeper.organization": "acme",
        "gatekeeper.verdict": "OUT_OF_BUDGET",
    }
    assert attributes(failed)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert attributes(failed)["gatekeeper.reason"] == "ORGANIZATION_NOT_FOUND"
    # The caller's mistake is no error of the server.
    assert failed.status.code == Status.STATUS_CODE_UNSET
    assert all(span.start_time_unix_nano < span.end_time_unix_nano for span in (capped, denied, failed))
    assert received.resource()["service.name"] == "gatekeeper"
    assert received.resource()["service.instance.id"] == "here:1"


def test_spans_and_lines_have_the_same_trace(traced: Traced, received: Received) -> None:
    """A span is a child of the caller's, and in the log's trace, also where the caller's tracer records nothing."""
    watched = traced()
    with Client(watched.server.address) as client:
        for _ in range(3):
            client.reserve("acme", amount="1")
    lines = watched.logged(3)
    found = spans(received, 3)
    assert [span.trace_id.hex() for span in found] == [line["trace_id"] for line in lines]
    assert all(len(span.parent_span_id) == 8 for span in found)


def test_a_call_without_a_trace_begins_one(traced: Traced, received: Received) -> None:
    """Its span has no parent, and its line in the log has the span's trace."""
    watched = traced()
    with grpc.insecure_channel(watched.server.address) as channel:
        call: Any = channel.unary_unary(f"/{SERVICE}/Release")
        with pytest.raises(grpc.RpcError):
            call(b"\xff", timeout=20)
        with pytest.raises(grpc.RpcError):
            call(b"\xff", timeout=20, metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),))
    alone, child = spans(received, 2)
    assert alone.parent_span_id == b""
    assert (child.trace_id.hex(), child.parent_span_id.hex()) == (TRACE, PARENT)
    assert [span.trace_id.hex() for span in (alone, child)] == [line["trace_id"] for line in watched.logged(2)]


@pytest.mark.anyio
async def test_a_watch_is_one_span(traced: Traced, received: Received) -> None:
    """It ends when the watcher leaves."""
    watched = traced()
    async with AsyncClient(watched.server.address) as client:
        await client.reserve("acme", amount="1")
        async for _ in client.watch_status("acme"):
            break
    until(lambda: len(received.spans()) == 2)
    (watch,) = [span for span in received.spans() if span.name.endswith("/WatchStatus")]
    assert attributes(watch)["rpc.grpc.status_code"] in {0, grpc.StatusCode.CANCELLED.value[0]}


def test_the_sdks_sampler_is_heard(traced: Traced, received: Received) -> None:
    """Where the environment says how many calls are sampled, so many are."""
    watched = traced(OTEL_TRACES_SAMPLER="always_off")
    with Client(watched.server.address) as client:
        client.reserve("acme", amount="1")
    assert watched.server.stop() == 0
    assert received.spans() == []


def test_the_last_spans_are_sent(traced: Traced, received: Received) -> None:
    """A server that stops sends what it has."""
    watched = traced(OTEL_BSP_SCHEDULE_DELAY="60000")
    with Client(watched.server.address) as client:
        client.reserve("acme", amount="1")
    assert watched.server.stop() == 0
    assert len(received.spans()) == 1


def test_a_collector_that_is_away_is_no_trouble(traced: Traced) -> None:
    """Calls are answered, and the server stops in time."""
    watched = traced(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    with Client(watched.server.address) as client:
        client.reserve("acme", amount="1")
    began = time.monotonic()
    assert watched.server.stop() == 0
    assert time.monotonic() - began < 10


def test_without_the_packages(tmp_path: Path, database_url: str) -> None:
    """A server that is to send spans and cannot does not start, and says what to install."""
    missing = tmp_path / "opentelemetry"
    missing.mkdir()
    (missing / "__init__.py").write_text(MISSING)
    command = [sys.executable, "-m", "gatekeeper", "serve", "--listen", "127.0.0.1:0"]
    refused = subprocess.run(
        [*command, "--database-url", served_url(database_url)],
        env=server_environment(tmp_path, GATEKEEPER_OTEL="1", PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "gatekeeper: The setting otel needs packages that are not installed: pip install 'budget-gatekeeper[otel]'."
    )
