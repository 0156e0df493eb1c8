"""How many calls does a server answer when a fixed number of them is always in flight, and how long does each take?

Runs in a process of its own (`python -m benchmarks.load`), prints one JSON object, and costs a fraction of what
the server spends: one thread, no event loop, raw HTTP/2 (`http2.py`). Closed loop: an answer starts the next call.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import selectors
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.calls import Call, chain, uuid7_text
from benchmarks.http2 import ConnectionLostError, Wire
from benchmarks.plan import Plan, Report, cpu_s, processes

if TYPE_CHECKING:
    from collections.abc import Sequence

PER_CONNECTION: Final = 64  # calls in flight
SAMPLE: Final = 64  # one answer in so many is decoded in full
RECEIVE_BYTES: Final = 2**15  # a larger buffer would be mapped, and faulted in, for each read
SILENCE_S: Final = 10  # after which the calls still in flight are given up
TIMEVAL: Final = struct.Struct("@ll")


@dataclass(slots=True)
class Flight:
    """One of the calls that are always under way: which chain, how far, since when."""

    number: int = -1
    step: int = 0
    reservation_id: bytes = b""
    started_ns: int = 0


class Link:
    """A connection and what is in flight on it."""

    def __init__(self, port: int) -> None:
        """Connect to a port of this machine."""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # By the kernel, as Python's own timeout would poll before each read.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(SILENCE_S, 0))
        self.wire = Wire(b"127.0.0.1:%d" % port)
        self.flights: dict[int, Flight] = {}

    def flush(self) -> None:
        """Send what is queued; the socket's buffer holds far more than 64 small requests."""
        outgoing = self.wire.outgoing()
        if outgoing:
            self.socket.sendall(outgoing)


class Load:
    """A closed loop over some connections."""

    def __init__(self, plan: Plan, calls: Sequence[Call]) -> None:
        """Connect; the calls of a chain follow one another on one id."""
        self._plan = plan
        self._calls = calls
        self._report = Report()
        self._latencies_ns: list[int] = []
        self._chains_started = 0
        self._open = True
        links_needed = -(-plan.in_flight // PER_CONNECTION)
        self._links = [Link(plan.port) for _ in range(links_needed)]
        self._selector = selectors.DefaultSelector()
        for link in self._links:
            self._selector.register(link.socket, selectors.EVENT_READ, link)

    def run(self) -> Report:
        """Warm up, measure, wait for the last answers, and return what was measured."""
        try:
            self._launch()
            self._measure()
        except (ConnectionLostError, OSError) as lost:
            self._fail(f"connection lost: {lost}", sum(len(link.flights) for link in self._links))
        for link in self._links:
            self._selector.unregister(link.socket)
            link.socket.close()
        self._selector.close()
        return self._report

    def _launch(self) -> None:
        for index in range(self._plan.in_flight):
            self._begin(self._links[index % len(self._links)], Flight())
        for link in self._links:
            link.flush()

    def _measure(self) -> None:
        groups = [processes(pid) for pid in self._plan.watched]
        if not self._plan.count:
            self._pump(self._plan.warm_up_s)
            self._report = Report()
            self._latencies_ns.clear()
        watched_s = [cpu_s(group) for group in groups]
        begun, own_s = time.perf_counter(), time.process_time()
        self._pump(self._plan.seconds if not self._plan.count else float("inf"))
        elapsed_s, own_s = time.perf_counter() - begun, time.process_time() - own_s
        ends_s = [cpu_s(processes(pid)) for pid in self._plan.watched]
        spent_s = [end - begin for begin, end in zip(watched_s, ends_s, strict=True)]
        self._summarize(elapsed_s, own_s, spent_s)
        self._drain()

    def _pump(self, seconds: float) -> None:
        """Serve answers for so long, or until nothing is in flight."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            busy = [link for link in self._links if link.flights]
            if not busy:
                return
            for link in busy if len(busy) == 1 else self._ready():
                self._serve(link)

    def _ready(self) -> list[Link]:
        ready = [key.data for key, _ in self._selector.select(SILENCE_S)]
        if not ready:
            raise TimeoutError
        return ready

    def _drain(self) -> None:
        """Let the calls in flight end, so that what is measured next meets an idle server."""
        self._open = False
        report, self._report = self._report, Report()
        self._pump(SILENCE_S)
        self._report = report

    def _serve(self, link: Link) -> None:
        answers = link.wire.receive(link.socket.recv(RECEIVE_BYTES))
        now_ns = time.perf_counter_ns()
        for answer in answers:
            flight = link.flights.pop(answer.stream, None)
            if flight is not None:
                self._land(link, flight, answer.message, answer.trailer, now_ns)
        link.flush()

    def _land(self, link: Link, flight: Flight, message: bytes | None, trailer: bytes, now_ns: int) -> None:
        call = self._calls[flight.step]
        report = self._report
        report.calls += 1
        if message is None:
            self._fail(_readable(trailer), 1)
        elif not call.admitted(message):
            report.denied += 1
        elif report.calls % SAMPLE == 0 and not call.is_about(message, flight.reservation_id):
            self._fail("the answer is about another reservation", 1)
        else:
            report.admitted += 1
            if flight.step + 1 < len(self._calls):
                flight.step += 1
                self._send(link, flight)
                return
            self._latencies_ns.append(now_ns - flight.started_ns)
        self._begin(link, flight)

    def _begin(self, link: Link, flight: Flight) -> None:
        if self._open and (not self._plan.count or self._chains_started < self._plan.count):
            flight.number = self._chains_started
            self._chains_started += 1
            flight.step = 0
            flight.reservation_id = uuid7_text()
            flight.started_ns = time.perf_counter_ns()
            self._send(link, flight)

    def _send(self, link: Link, flight: Flight) -> None:
        call = self._calls[flight.step]
        stream = link.wire.request(call.path, call.body(flight.number, flight.reservation_id))
        link.flights[stream] = flight

    def _fail(self, reason: str, calls: int) -> None:
        self._report.errors += calls
        self._report.first_error = self._report.first_error or reason

    def _summarize(self, elapsed_s: float, own_s: float, watched_s: Sequence[float]) -> None:
        report, taken = self._report, sorted(self._latencies_ns)
        report.elapsed_s = elapsed_s
        report.chains = len(taken)
        report.rate = len(taken) / elapsed_s
        if taken:
            ranks = (len(taken) * percent // 100 for percent in (50, 99, 100))
            report.p50_ms, report.p99_ms, report.max_ms = (taken[min(rank, len(taken) - 1)] / 1e6 for rank in ranks)
        per_call = 1e6 / max(report.calls, 1)
        report.client_us_per_call = own_s * per_call
        report.watched_us_per_call = [spent_s * per_call for spent_s in watched_s]


def _readable(trailer: bytes) -> str:
    """Return what can be read of a header block that nobody decodes."""
    return re.sub(r"[^ -~]+", " ", trailer.decode("latin-1")).strip()


def main() -> None:
    """Carry out the plan given as arguments; print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", help="a Plan as JSON")
    plan = Plan(**json.loads(parser.parse_args().plan))
    load = Load(plan, chain(plan.chain, plan.organization))
    gc.disable()  # nothing here forms cycles, and a pause would be taken for the server's
    json.dump(asdict(load.run()), sys.stdout)


if __name__ == "__main__":
    main()
