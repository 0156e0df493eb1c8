"""Can a call be followed from a client's program through the client to the server's log?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from gatekeeper_client import AsyncClient, Client, GatekeeperError
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub
from tests.conftest import ServerFactory
from tests.integration.observing import Watched, watching

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
TRACE_ID = re.compile("[0-9a-f]{32}")


@pytest.fixture
def watched(start_server: ServerFactory, database_url: str, tmp_path: Path) -> Watched:
    """Return a server with a log."""
    return watching(start_server, database_url, tmp_path)()


@pytest.fixture
def client(watched: Watched) -> Iterator[Client]:
    """Return a client of it."""
    with Client(watched.server.address) as client:
        yield client


def send(watched: Watched, *metadata: tuple[str, str | bytes]) -> None:
    """Make a call with these headers."""
    with grpc.insecure_channel(watched.server.address) as channel:
        call: Any = GatekeeperServiceStub(channel).GetStatus
        with pytest.raises(grpc.RpcError):
            call(pb.GetStatusRequest(organization="nobody"), timeout=20, metadata=metadata)


def test_the_callers_trace_is_logged(watched: Watched) -> None:
    """A call that names a trace is logged as part of it."""
    send(watched, ("traceparent", PARENT))
    assert watched.logged(1)[0]["trace_id"] == TRACE


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "garbage")],
        [("traceparent", PARENT.upper())],
        [("traceparent", "x" * 4000)],
    ],
)
def test_garbage_is_ignored(watched: Watched, headers: list[tuple[str, str]]) -> None:
    """A call that names none, or something that is none, has a trace of its own; it is served like any other."""
    send(watched, *headers)
    (line,) = watched.logged(1)
    assert TRACE_ID.fullmatch(line["trace_id"])
    assert line["trace_id"] != TRACE
    assert line["code"] == "NOT_FOUND"


def test_an_error_tells_its_trace(watched: Watched, client: Client) -> None:
    """What a client raises names the line that the server has logged of it; each call has a trace of its own."""
    caught = []
    for _ in range(2):
        with pytest.raises(GatekeeperError) as error:
            client.get_status("nobody")
        caught.append(error.value.trace_id)
    assert [line["trace_id"] for line in watched.logged(2)] == caught
    assert len(set(caught)) == 2


@pytest.mark.anyio
async def test_so_does_the_asyncio_client(watched: Watched) -> None:
    """The asyncio client does the same, for calls and for streams."""
    caught = []
    async with AsyncClient(watched.server.address) as client:
        with pytest.raises(GatekeeperError) as error:
            await client.get_status("nobody")
        caught.append(error.value.trace_id)
        with pytest.raises(GatekeeperError) as error:
            async for _ in client.watch_status("nobody"):
                pass
        caught.append(error.value.trace_id)
    assert [line["trace_id"] for line in watched.logged(2)] == caught


def test_an_error_without_a_server_tells_its_trace() -> None:
    """Also where no server was reached, a program can log which call it was."""
    with Client("127.0.0.1:1", timeout_s=0.2) as client, pytest.raises(GatekeeperError) as error:
        client.get_status("acme")
    assert TRACE_ID.fullmatch(error.value.trace_id)


@pytest.mark.parametrize("sampler", [None, ALWAYS_OFF])
def test_the_programs_span_goes_on(watched: Watched, client: Client, sampler: Any) -> None:
    """Where a program has a span of OpenTelemetry, sampled or not, its calls are part of that trace."""
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("work"):
        expected = trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)
        for _ in range(2):
            client.reserve("acme", amount="1")
    client.reserve("acme", amount="1")
    first, second, other = [line["trace_id"] for line in watched.logged(3)]
    assert first == second == expected
    assert other != expected
