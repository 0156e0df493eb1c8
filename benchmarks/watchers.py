"""Who looks at a server while it works? Streams of WatchStatus, each on a connection of its own, and a scraper.

Runs in a process of its own (`python -m benchmarks.watchers`). It takes one line of JSON, says `ready` when every
stream has had its first message, and prints one JSON object when its standard input ends.
"""

from __future__ import annotations

import http.client
import json
import selectors
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.calls import WATCH_STATUS_PATH, watch
from benchmarks.http2 import ConnectionLostError, framed
from benchmarks.link import HOST, Link, readable
from benchmarks.plan import percentiles_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

READY: Final = "ready"
PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What to look at: so many streams of one organization, and the metrics each so many seconds."""

    port: int
    http_port: int
    organization: str
    streams: int
    interval_s: float = 1.0


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen after all were ready. `lost` counts streams that ended, and scrapes that failed."""

    seconds: float = 0.0
    updates: int = 0
    updates_least: int = 0
    update_bytes: int = 0
    scrapes: int = 0
    scrape_bytes: int = 0
    scrape_p50_ms: float = 0.0
    lost: int = 0
    first_error: str = ""


@dataclass(slots=True, kw_only=True)
class Stream:
    """A stream, and how many messages came of it."""

    link: Link
    number: int
    updates: int = 0
    size_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Scraper:
    """Reads the metrics when they are due."""

    port: int
    interval_s: float
    due_s: float = field(default_factory=time.monotonic)
    taken_ns: list[int] = field(default_factory=list)
    size_bytes: int = 0

    def scrape(self) -> None:
        """Read them if they are due. Raises `OSError`."""
        if time.monotonic() < self.due_s:
            return
        self.due_s += self.interval_s
        begun_ns = time.perf_counter_ns()
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            self.size_bytes = len(answer.read())
        except http.client.HTTPException as broken:
            raise OSError(repr(broken)) from broken
        finally:
            connection.close()
        if answer.status != http.client.OK:
            message = f"/metrics: {answer.status} {answer.reason}"
            raise OSError(message)
        self.taken_ns.append(time.perf_counter_ns() - begun_ns)


class Watchers:
    """All streams, and the scraper."""

    def __init__(self, watching: Watching) -> None:
        """Connect. Raises `OSError`."""
        self._seen = Seen()
        self._scraper = Scraper(port=watching.http_port, interval_s=watching.interval_s)
        self._selector = selectors.DefaultSelector()
        self._streams = [self._opened(watching) for _ in range(watching.streams)]

    def prepare(self) -> None:
        """Wait until each stream has had its first message, then count anew. Raises `TimeoutError`."""
        deadline = time.monotonic() + PATIENCE_S
        while not all(stream.updates for stream in self._streams):
            if self._seen.lost or time.monotonic() > deadline:
                raise TimeoutError(self._seen.first_error)
            self._take(0.1)
        for stream in self._streams:
            stream.updates = stream.size_bytes = 0

    def look(self, until: int) -> Seen:
        """Take what comes until there is something to read, or an end, at a file descriptor."""
        self._selector.register(until, selectors.EVENT_READ)
        begun = time.monotonic()
        while not self._take(max(self._scraper.due_s - time.monotonic(), 0)):
            try:
                self._scraper.scrape()
            except OSError as failed:
                self._lose(f"scrape: {failed}")
        self._seen.seconds = time.monotonic() - begun
        return self._summary()

    def close(self) -> None:
        """Hang up."""
        for stream in self._streams:
            stream.link.close()
        self._selector.close()

    def _opened(self, watching: Watching) -> Stream:
        link = Link(watching.port)
        number = link.wire.request(WATCH_STATUS_PATH, framed(watch(watching.organization)))
        link.flush()
        stream = Stream(link=link, number=number)
        self._selector.register(link, selectors.EVENT_READ, stream)
        return stream

    def _take(self, timeout_s: float) -> bool:
        """Take what has come within this time; return whether the end was among it."""
        ready = [key.data for key, _ in self._selector.select(timeout_s)]
        for stream in ready:
            if stream is not None:
                self._receive(stream)
        return None in ready

    def _receive(self, stream: Stream) -> None:
        try:
            ended = stream.link.receive()
            stream.link.flush()
        except (ConnectionLostError, OSError) as lost:
            self._end(stream, f"connection lost: {lost}")
            return
        for size in stream.link.wire.came(stream.number):
            stream.updates += 1
            stream.size_bytes += size
        for answer in ended:
            self._end(stream, f"stream ended: {readable(answer.trailer)}")

    def _end(self, stream: Stream, problem: str) -> None:
        self._selector.unregister(stream.link)
        self._lose(problem)

    def _lose(self, problem: str) -> None:
        self._seen.lost += 1
        self._seen.first_error = self._seen.first_error or problem

    def _summary(self) -> Seen:
        seen, scraper = self._seen, self._scraper
        seen.updates = _total(stream.updates for stream in self._streams)
        seen.updates_least = min(stream.updates for stream in self._streams)
        seen.update_bytes = _total(stream.size_bytes for stream in self._streams) // max(seen.updates, 1)
        seen.scrapes, seen.scrape_bytes = len(scraper.taken_ns), scraper.size_bytes
        (seen.scrape_p50_ms,) = percentiles_ms(scraper.taken_ns, 50)
        return seen


def _total(numbers: Iterable[int]) -> int:
    return sum(numbers)


def main() -> None:
    """Look as the line of JSON says."""
    watchers = Watchers(Watching(**json.loads(sys.stdin.readline())))
    watchers.prepare()
    print(READY, flush=True)
    json.dump(asdict(watchers.look(sys.stdin.fileno())), sys.stdout)
    watchers.close()


if __name__ == "__main__":
    main()
