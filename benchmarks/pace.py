"""How long does each call take when calls come at a constant rate, whatever comes back?

Runs in a process of its own (`python -m benchmarks.pace`) and prints one JSON object. Open loop: a slow answer delays
no later call. A call's time begins when it was due, so that what keeps the next one from being sent counts as well.
"""

from __future__ import annotations

import gc
import heapq
import json
import random
import select
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from benchmarks.calls import reserve, uuid7_text
from benchmarks.http2 import ConnectionLostError
from benchmarks.link import SILENCE_S, Flight, Link, readable
from benchmarks.plan import Credentials, Report, percentiles_ms, read_pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.http2 import Answer
    from benchmarks.plan import Pace

# In the text of the refusal of a call that is one too many; its reason is not spelled out on the wire.
REFUSAL: Final = b"calls a second"


class Pacer:
    """Some callers, each on a connection of its own."""

    def __init__(self, pace: Pace) -> None:
        """Connect."""
        self._pace = pace
        self._report = Report()
        self._calls = [reserve(caller.organization) for caller in pace.callers]
        self._links = [Link(pace.port, Credentials(token=caller.token)) for caller in pace.callers]
        self._begin_ns = round(pace.begin_s * 1e9)
        self._measured_ns = self._begin_ns + round(pace.warm_up_s * 1e9)
        self._end_ns = self._measured_ns + round(pace.seconds * 1e9)
        self._sent_ns = self._measured_ns
        self._late_ns: list[int] = []
        self._admitted_ns: list[int] = []
        self._refused_ns: list[int] = []

    def run(self) -> Report:
        """Warm up, measure, wait for the last answers, and return what was measured."""
        own_s = time.process_time()
        try:
            for number, (due_ns, place) in enumerate(heapq.merge(*map(self._due, range(len(self._links))))):
                self._receive_until(due_ns)
                self._send(number, place, due_ns)
            self._drain()
        except (ConnectionLostError, OSError) as lost:
            self._fail(f"connection lost: {lost}", sum(len(link.flights) for link in self._links))
        for link in self._links:
            link.close()
        self._summarize(time.process_time() - own_s)
        return self._report

    def _due(self, place: int) -> Iterator[tuple[int, int]]:
        """Yield when the calls of one caller are due, and its place."""
        interval_ns = round(1e9 / self._pace.calls_per_s)
        for at_ns in range(self._begin_ns, self._end_ns, interval_ns):
            yield at_ns if self._pace.even else at_ns + random.randrange(interval_ns), place

    def _receive_until(self, due_ns: int) -> None:
        """Take answers until it is time; what has come is taken at least once."""
        while True:
            now_ns = time.monotonic_ns()
            # Selectors would round the time up to a whole millisecond.
            ready, _, _ = select.select(self._links, (), (), max(due_ns - now_ns, 0) / 1e9)
            for link in ready:
                self._take(link)
            if now_ns >= due_ns:
                return

    def _send(self, number: int, place: int, due_ns: int) -> None:
        link, call = self._links[place], self._calls[place]
        reservation_id = uuid7_text()
        stream = link.wire.request(call.path, call.body(number, reservation_id))
        link.flights[stream] = Flight(number=place, reservation_id=reservation_id, started_ns=due_ns)
        link.flush()
        if due_ns >= self._measured_ns:
            self._sent_ns = time.monotonic_ns()
            self._late_ns.append(self._sent_ns - due_ns)

    def _drain(self) -> None:
        while any(link.flights for link in self._links):
            ready, _, _ = select.select(self._links, (), (), SILENCE_S)
            if not ready:
                raise TimeoutError
            for link in ready:
                self._take(link)

    def _take(self, link: Link) -> None:
        answers = link.receive()
        now_ns = time.monotonic_ns()
        for answer in answers:
            flight = link.flights.pop(answer.stream, None)
            if flight is not None and flight.started_ns >= self._measured_ns:
                self._land(flight, answer, now_ns)
        link.flush()

    def _land(self, flight: Flight, answer: Answer, now_ns: int) -> None:
        call, report, taken_ns = self._calls[flight.number], self._report, now_ns - flight.started_ns
        report.calls += 1
        if answer.message is None:
            if REFUSAL in answer.trailer:
                self._refused_ns.append(taken_ns)
            else:
                self._fail(readable(answer.trailer), 1)
        elif not call.admitted(answer.message):
            report.denied += 1
        else:
            self._admitted_ns.append(taken_ns)

    def _fail(self, reason: str, calls: int) -> None:
        self._report.errors += calls
        self._report.first_error = self._report.first_error or reason

    def _summarize(self, own_s: float) -> None:
        report = self._report
        report.elapsed_s = max(self._pace.seconds, (self._sent_ns - self._measured_ns) / 1e9)
        report.offered = len(self._late_ns) / report.elapsed_s
        report.chains = report.admitted = len(self._admitted_ns)
        report.rate = report.admitted / report.elapsed_s
        report.refused = len(self._refused_ns)
        report.p50_ms, report.p99_ms, report.max_ms = percentiles_ms(self._admitted_ns, 50, 99, 100)
        report.refused_p50_ms, report.refused_p99_ms = percentiles_ms(self._refused_ns, 50, 99)
        (report.late_p99_ms,) = percentiles_ms(self._late_ns, 99)
        report.client_us_per_call = own_s * 1e6 / max(report.calls, 1)


def main() -> None:
    """Keep the pace that comes as JSON; print the report as JSON."""
    pacer = Pacer(read_pace(sys.stdin.read()))
    gc.disable()  # nothing here forms cycles, and a pause would be taken for the server's
    json.dump(asdict(pacer.run()), sys.stdout)


if __name__ == "__main__":
    main()
