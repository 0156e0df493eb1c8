"""Do the benchmark's watchers see what there is, and say so when there is nothing more to see?"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest

from benchmarks.calls import WATCH_STATUS_PATH
from benchmarks.crossings import CROSSINGS, plan
from benchmarks.http2 import Wire, frame, framed
from benchmarks.watchers import Seen, Watchers, Watching
from benchmarks.webhooks import webhooks
from gatekeeper_client.v1 import report_service_pb2

STREAMS = 3
PATIENCE_S = 20
Stream = Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]


@contextmanager
def streamed(stream: Stream) -> Iterator[int]:
    """Serve one stream for WatchStatus, and nothing else; yield the port."""

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
            known = details.method == WATCH_STATUS_PATH.decode()
            return grpc.unary_stream_rpc_method_handler(stream) if known else None

    server = grpc.server(ThreadPoolExecutor(STREAMS), handlers=[Handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextmanager
def metrics(status: int = 200) -> Iterator[int]:
    """Show eleven bytes of metrics; yield the port."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/metrics" else 404)
            self.send_header("content-length", "11")
            self.end_headers()
            self.wfile.write(b"metrics 11\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def watched(port: int, http_port: int, go: threading.Event, enough: Callable[[Watchers], bool]) -> Seen:
    """Watch, from the moment on that `go` is set, until it is enough."""
    watching = Watching(port=port, http_port=http_port, organization="acme", streams=STREAMS, interval_s=0.01)
    watchers = Watchers(watching)
    reader, writer = os.pipe()

    def end() -> None:
        go.set()
        deadline = time.monotonic() + PATIENCE_S
        while not enough(watchers) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.close(writer)

    try:
        watchers.prepare()
        ending = threading.Thread(target=end)
        ending.start()
        seen = watchers.look(reader)
        ending.join()
        return seen
    finally:
        os.close(reader)
        watchers.close()


def updates(watchers: Watchers) -> int:
    """Return how many messages came until now."""
    return sum(stream.updates for stream in watchers._streams)


def test_watchers_count_what_was_sent() -> None:
    """Each message of each stream after the first is counted, with its size; and the metrics are read when due."""
    go, over = threading.Event(), threading.Event()
    asked: list[str] = []

    def stream(request: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
        asked.append(report_service_pb2.WatchStatusRequest.FromString(request).organization)
        yield b"a snapshot"
        go.wait(PATIENCE_S)
        for _number in range(50):
            yield b"x" * 20_000
        over.wait(PATIENCE_S)

    def enough(watchers: Watchers) -> bool:
        return updates(watchers) == STREAMS * 50 and len(watchers._scraper.taken_ns) > 1

    with streamed(stream) as port, metrics() as http_port:
        seen = watched(port, http_port, go, enough)
        over.set()
    assert asked == ["acme"] * STREAMS
    assert (seen.updates, seen.updates_least, seen.update_bytes) == (STREAMS * 50, 50, 20_000)
    assert (seen.lost, seen.first_error, seen.scrape_bytes) == (0, "", 11)
    assert seen.scrapes > 1
    assert seen.scrape_p50_ms > 0


def test_a_stream_that_ends_is_lost() -> None:
    """Its status is told; the others go on."""
    go, over = threading.Event(), threading.Event()
    ended = threading.Semaphore(1)

    def stream(_: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"a snapshot"
        go.wait(PATIENCE_S)
        if ended.acquire(blocking=False):
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone fishing")
        yield b"news"
        over.wait(PATIENCE_S)

    with streamed(stream) as port, metrics() as http_port:
        seen = watched(port, http_port, go, lambda w: updates(w) == STREAMS - 1 and w._seen.lost == 1)
        over.set()
    assert (seen.lost, seen.updates, seen.updates_least) == (1, STREAMS - 1, 0)
    assert "gone fishing" in seen.first_error


def test_a_scrape_that_fails_is_lost() -> None:
    """Metrics that do not come with OK are no metrics."""
    over = threading.Event()

    def stream(_: bytes, __: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"a snapshot"
        over.wait(PATIENCE_S)

    with streamed(stream) as port, metrics(503) as http_port:
        seen = watched(port, http_port, threading.Event(), lambda w: w._seen.lost > 0)
        over.set()
    assert seen.lost > 0
    assert seen.scrapes == 0
    assert "503" in seen.first_error


def test_messages_of_a_stream_are_told_apart_however_they_arrive() -> None:
    """Two messages in one frame are two; one in two frames is one, when its end has come."""
    wire = Wire(b"127.0.0.1")
    number = wire.request(WATCH_STATUS_PATH, framed(b""))
    wire.receive(frame(0, 0, number, framed(b"abc") + framed(b"") + framed(b"defgh")[:6]))
    assert wire.came(number) == [3, 0]
    assert wire.came(number) == []
    wire.receive(frame(0, 0, number, framed(b"defgh")[6:]))
    assert wire.came(number) == [5]


@pytest.mark.parametrize("used", [0, 9 * 10**9, 40 * 10**9])
@pytest.mark.parametrize("shift", [0, 0.5, 0.9])
def test_thresholds_lie_ahead(used: int, shift: float) -> None:
    """All of them are above what is used, and none is above what will be."""
    cap, percents = plan(used, 10**9, shift)
    assert cap == used + 10**9
    assert percents
    assert len(percents) <= CROSSINGS
    assert all(used < percent * cap / 100 <= used + 10**9 for percent in percents)
    assert list(percents) == sorted(set(percents))


def test_webhooks_are_counted_by_their_ids() -> None:
    """What comes twice is one alert."""
    with webhooks() as receiver:
        for webhook_id in ("1", "2", "1"):
            connection = HTTPConnection("127.0.0.1", receiver.server_port, timeout=20)
            connection.request("POST", "/", b"{}", {"webhook-id": webhook_id})
            assert connection.getresponse().status == 204
            connection.close()
        assert receiver.ids == {"1", "2"}
