"""Who looks at a server while it is measured, and what is seen?"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Final

from benchmarks.bench import ORGANIZATION, ROOT, ServerFailedError, environment, stop
from benchmarks.results import Table
from benchmarks.watchers import READY, Seen, Watching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from benchmarks.bench import Server
    from benchmarks.webhooks import Webhooks

STREAMS: Final = 200


@dataclass(slots=True, kw_only=True)
class Looks:
    """What the watchers saw in all rounds, and how many alerts arrived meanwhile; by calls in flight."""

    webhooks: Webhooks
    http_port: int
    seen: dict[int, list[Seen]] = field(default_factory=dict)
    alerts: dict[int, list[int]] = field(default_factory=dict)

    @contextlib.contextmanager
    def at(self, server: Server, in_flight: int) -> Iterator[None]:
        """Look at a server for as long as the block lasts."""
        watching = Watching(port=server.port, http_port=self.http_port, organization=ORGANIZATION, streams=STREAMS)
        with _watchers(watching) as (orders, answers):
            before = len(self.webhooks.ids)
            yield
            self.alerts.setdefault(in_flight, []).append(len(self.webhooks.ids) - before)
            orders.close()
            self.seen.setdefault(in_flight, []).append(Seen(**json.loads(answers.read())))

    def failures(self) -> tuple[int, str]:
        """Return how much was not as it should be, and what was said about the first."""
        every = [seen for looks in self.seen.values() for seen in looks]
        lost = sum(seen.lost for seen in every)
        blind = sum(not seen.updates_least or not seen.scrapes for seen in every)
        silent = int(not any(map(sum, self.alerts.values())))
        said = [seen.first_error for seen in every if seen.first_error]
        said += ["a stream or the scraper saw nothing"] * blind + ["no alert arrived"] * silent
        return lost + blind + silent, next(iter(said), "")

    def figures(self) -> list[dict[str, Any]]:
        """Return what was seen in every round, flat."""
        return [
            {"in_flight": in_flight, "round": number, "alerts": alerts, **asdict(seen)}
            for in_flight, every in self.seen.items()
            for number, (seen, alerts) in enumerate(zip(every, self.alerts[in_flight], strict=True), 1)
        ]

    def table(self) -> Table:
        """Show it."""
        header = ["in flight", "updates/s", "of each stream", "bytes", "scrapes/s", "bytes", "p50 ms", "alerts/s"]
        return Table(
            title=f"what was seen meanwhile on {STREAMS} streams, by a scraper and by a webhook",
            header=header,
            rows=[self._row(in_flight) for in_flight in self.seen],
        )

    def _row(self, in_flight: int) -> list[str]:
        every, last = self.seen[in_flight], self.seen[in_flight][-1]
        seconds = sum(seen.seconds for seen in every) or math.inf
        updates_per_s = sum(seen.updates for seen in every) / seconds
        return [
            str(in_flight),
            f"{updates_per_s:,.0f}",
            f"{updates_per_s / STREAMS:.2f}",
            f"{last.update_bytes:,}",
            f"{sum(seen.scrapes for seen in every) / seconds:.1f}",
            f"{last.scrape_bytes:,}",
            f"{last.scrape_p50_ms:.1f}",
            f"{sum(self.alerts[in_flight]) / seconds:.1f}",
        ]


@contextlib.contextmanager
def _watchers(watching: Watching) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Run watchers in a process of their own; yield, once all see something, what they read from and write to."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watchers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
        process_group=0,
    )
    with process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asdict(watching)).encode() + b"\n")
            process.stdin.flush()
            if process.stdout.readline().decode().strip() != READY:
                message = "the watchers could not begin"
                raise ServerFailedError(message)
            yield process.stdin, process.stdout
        finally:
            stop(process)
