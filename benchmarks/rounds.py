"""How are several servers compared on a noisy machine? In turns, round after round, so that noise hits all alike."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.bench import ORGANIZATION, ROOT, Bench, Server, environment
from benchmarks.plan import Pace, Plan, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(slots=True)
class Rounds:
    """The reports of every round, by server and calls in flight."""

    reports: dict[tuple[str, int], list[Report]] = field(default_factory=dict)

    def add(self, server: str, in_flight: int, report: Report) -> None:
        """Keep the report of the next round."""
        self.reports.setdefault((server, in_flight), []).append(report)

    def median(self, server: str, in_flight: int, figure: str) -> float:
        """Return the median of a report's figure over all rounds."""
        return statistics.median(_figure(report, figure) for report in self.reports[server, in_flight])

    def ratio(self, server: str, other: str, in_flight: int, figure: str = "rate") -> float:
        """Return the median of the rounds' ratios: each divides what was measured within seconds of each other."""
        pairs = zip(self.reports[server, in_flight], self.reports[other, in_flight], strict=True)
        return statistics.median(_quotient(_figure(a, figure), _figure(b, figure)) for a, b in pairs)

    def watched_us(self, server: str, in_flight: int, place: int) -> float:
        """Return the median processor time for a call, in µs, of the watched process at this place of the plan."""
        return statistics.median(report.watched_us_per_call[place] for report in self.reports[server, in_flight])

    def failures(self) -> tuple[int, str]:
        """Return how many calls failed or were denied in all rounds, and what was said about the first."""
        every = [report for reports in self.reports.values() for report in reports]
        said = next((report.first_error for report in every if report.first_error), "")
        return sum(report.errors + report.denied for report in every), said

    def figures(self) -> list[dict[str, Any]]:
        """Return every report, flat."""
        return [
            {"server": server, "in_flight": in_flight, "round": number, **asdict(report)}
            for (server, in_flight), reports in self.reports.items()
            for number, report in enumerate(reports, 1)
        ]


def take_turns(
    bench: Bench,
    servers: Sequence[Server],
    levels: Sequence[int],
    chain: int,
    each_round: Callable[[], None] = lambda: None,
) -> Rounds:
    """Measure every server at every level once a round; `chain` picks from the servers' chains."""
    rounds = Rounds()
    for number in range(1, bench.effort.rounds + 1):
        for in_flight in levels:
            # Whoever comes first meets what the one before has left to the database: each does in its turn.
            first = number % len(servers)
            for server in (*servers[first:], *servers[:first]):
                report = measure(bench, server, server.chains[chain], in_flight)
                rounds.add(server.name, in_flight, report)
                bench.say(
                    f"round {number} of {bench.effort.rounds}: {server.name}, {server.chains[chain]}, "
                    f"{in_flight} in flight: {report.rate:,.0f}/s, p50 {report.p50_ms:.2f} ms"
                )
        each_round()
    return rounds


def measure(bench: Bench, server: Server, chain: str, in_flight: int, count: int = 0) -> Report:
    """Load one server from a process of its own: for the usual time, or for so many chains."""
    plan = Plan(
        port=server.port,
        chain=chain,
        organization=ORGANIZATION,
        credentials=server.credentials,
        in_flight=in_flight,
        warm_up_s=bench.effort.warm_up_s,
        seconds=bench.effort.seconds,
        count=count,
        watched=(server.pid, bench.postgres_pid),
    )
    return report_of("benchmarks.load", plan)


def report_of(module: str, plan: Plan | Pace) -> Report:
    """Carry out a plan in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        check=True,
        input=json.dumps(asdict(plan)).encode(),
        stdout=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
        process_group=0,
    )
    return Report(**json.loads(done.stdout))


def _figure(report: Report, name: str) -> float:
    return float(getattr(report, name))


def _quotient(a: float, b: float) -> float:
    return a / b if b else float("nan")
