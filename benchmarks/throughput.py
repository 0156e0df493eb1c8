"""How many calls a second on one hot organization with a campaign cap, and how long does each take?

Beside our server stand (a) an empty call on the same gRPC stack and (b) a transaction for each call.
"""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.h2load import H2Load, h2load
from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import Rounds, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench, Server

OURS, EMPTY, ROW_LOCK = "gatekeeper", "empty", "row-lock"
FULL: Final = 64  # calls in flight where the rates are compared
LONE: Final = 1  # calls in flight where the latency is compared
OF_EMPTY_MIN: Final = 0.55
OF_ROW_LOCK_MIN: Final = 3.5
LONE_P50_MAX: Final = 1.2
CLIENT_CORE_MAX: Final = 0.8  # of one core; above, the client could be what limits


def reserves(bench: Bench) -> Outcome:
    """Measure Reserve alone, and whether our client is good enough to measure it."""
    others: list[H2Load] = []

    def other_client(server: Server) -> None:
        effort = bench.effort
        seen = h2load(
            server.port, in_flight=FULL, seconds=effort.seconds, warm_up_s=effort.warm_up_s, folder=bench.folder
        )
        if seen:
            others.append(seen)
            bench.say(f"h2load, empty, {FULL} in flight: {seen.rate:,.0f}/s")

    with _servers(bench, "bench_reserve") as servers:
        empty = next(server for server in servers if server.name == EMPTY)
        rounds = take_turns(bench, servers, bench.effort.levels, 0, lambda: other_client(empty))
    outcome = _outcome("throughput", "reserves", rounds, bench.effort.levels)
    busy = rounds.median(EMPTY, FULL, "rate") * rounds.median(EMPTY, FULL, "client_us_per_call") / 1e6
    return Outcome(
        scenario=outcome.scenario,
        tables=[*outcome.tables, _costs(rounds, others)],
        targets=[
            *outcome.targets,
            Target(what="our client at its busiest", measured=busy, limit=CLIENT_CORE_MAX, unit="of a core"),
        ],
        figures=outcome.figures,
        failed_calls=outcome.failed_calls,
        notes=outcome.notes,
    )


def cycles(bench: Bench) -> Outcome:
    """Measure Reserve followed by Commit."""
    with _servers(bench, "bench_cycle") as servers:
        rounds = take_turns(bench, servers, bench.effort.cycle_levels, 1)
    return _outcome("cycle", "reserve + commit cycles", rounds, bench.effort.cycle_levels)


@contextlib.contextmanager
def _servers(bench: Bench, database: str) -> Iterator[Sequence[Server]]:
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(bench.gatekeeper(bench.migrated(database)))
        empty = stack.enter_context(bench.empty())
        row_lock = stack.enter_context(bench.row_lock(bench.database(f"{database}_row_lock")))
        yield ours, empty, row_lock


def _outcome(scenario: str, noun: str, rounds: Rounds, levels: Sequence[int]) -> Outcome:
    failed, said = rounds.failures()
    return Outcome(
        scenario=scenario,
        tables=[_rates(noun, rounds, levels)],
        targets=[
            Target(
                what=f"{noun}/s at {FULL} in flight, of (b)",
                measured=rounds.ratio(OURS, ROW_LOCK, FULL),
                limit=OF_ROW_LOCK_MIN,
                unit="x",
                at_least=True,
            ),
            Target(
                what=f"{noun}/s at {FULL} in flight, of (a)",
                measured=rounds.ratio(OURS, EMPTY, FULL),
                limit=OF_EMPTY_MIN,
                unit="x",
                at_least=True,
            ),
            Target(
                what=f"{noun}, p50 at {LONE} in flight, of (b)",
                measured=rounds.ratio(OURS, ROW_LOCK, LONE, "p50_ms"),
                limit=LONE_P50_MAX,
                unit="x",
            ),
        ],
        figures=rounds.figures(),
        failed_calls=failed,
        notes=[said] if said else [],
    )


def _rates(noun: str, rounds: Rounds, levels: Sequence[int]) -> Table:
    header = ["in flight"]
    for name in ("gatekeeper", "(a) empty", "(b) row lock"):
        header += [f"{name} /s", "p50 ms", "p99 ms"]
    rows = []
    for level in levels:
        row = [str(level)]
        for name in (OURS, EMPTY, ROW_LOCK):
            row += [
                f"{rounds.median(name, level, 'rate'):,.0f}",
                f"{rounds.median(name, level, 'p50_ms'):.2f}",
                f"{rounds.median(name, level, 'p99_ms'):.2f}",
            ]
        row += [f"{rounds.ratio(OURS, other, level):.2f}" for other in (EMPTY, ROW_LOCK)]
        rows.append(row)
    return Table(title=f"{noun} a second, medians", header=[*header, "÷ (a)", "÷ (b)"], rows=rows)


def _costs(rounds: Rounds, others: Sequence[H2Load]) -> Table:
    rows = []
    for name in (OURS, EMPTY, ROW_LOCK):
        server, database = (rounds.watched_us(name, FULL, place) for place in (0, 1))
        client = rounds.median(name, FULL, "client_us_per_call")
        rows.append(
            [name, f"{rounds.median(name, FULL, 'rate'):,.0f}", *(f"{us:.0f}" for us in (client, server, database))]
        )
    if others:
        rate = statistics.median(other.rate for other in others)
        client = statistics.median(other.client_us_per_call for other in others)
        rows.append(["empty, by h2load", f"{rate:,.0f}", f"{client:.0f}", "", ""])
    title = f"processor time for a call at {FULL} in flight, µs"
    return Table(title=title, header=["server", "calls/s", "client", "server", "database"], rows=rows)
