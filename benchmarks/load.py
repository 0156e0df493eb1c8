"""How many calls does a server answer when a fixed number of them is always in flight, and how long does each take?

Runs in a process of its own (`python -m benchmarks.load`), prints one JSON object, and costs a fraction of what
the server spends: one thread, no event loop, raw HTTP/2 (`http2.py`). Closed loop: an answer starts the next call.
"""

from __future__ import annotations

import gc
import json
import selectors
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from benchmarks.calls import Call, chain, uuid7_text
from benchmarks.http2 import ConnectionLostError
from benchmarks.link import SILENCE_S, Flight, Link, readable
from benchmarks.plan import Plan, Report, cpu_s, percentiles_ms, processes, read_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

PER_CONNECTION: Final = 64  # calls in flight
SAMPLE: Final = 64  # one answer in so many is decoded in full


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
        self._links = [Link(plan.port, plan.credentials) for _ in range(links_needed)]
        self._selector = selectors.DefaultSelector()
        for link in self._links:
            self._selector.register(link, selectors.EVENT_READ, link)

    def run(self) -> Report:
        """Warm up, measure, wait for the last answers, and return what was measured."""
        try:
            self._launch()
            self._measure()
        except (ConnectionLostError, OSError) as lost:
            self._fail(f"connection lost: {lost}", sum(len(link.flights) for link in self._links))
        for link in self._links:
            self._selector.unregister(link)
            link.close()
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
        answers = link.receive()
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
            self._fail(readable(trailer), 1)
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
        report, taken = self._report, self._latencies_ns
        report.elapsed_s = elapsed_s
        report.chains = len(taken)
        report.rate = len(taken) / elapsed_s
        report.p50_ms, report.p99_ms, report.max_ms = percentiles_ms(taken, 50, 99, 100)
        per_call = 1e6 / max(report.calls, 1)
        report.client_us_per_call = own_s * per_call
        report.watched_us_per_call = [spent_s * per_call for spent_s in watched_s]


def main() -> None:
    """Carry out the plan that comes as JSON, not as an argument, which every user could read; print the report."""
    plan = read_plan(sys.stdin.read())
    load = Load(plan, chain(plan.chain, plan.organization))
    gc.disable()  # nothing here forms cycles, and a pause would be taken for the server's
    json.dump(asdict(load.run()), sys.stdout)


if __name__ == "__main__":
    main()
