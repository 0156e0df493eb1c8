"""Does the server get slower as the ledger grows?"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Final

from benchmarks.fill import BYTES_EACH, fill
from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import Rounds, take_turns

if TYPE_CHECKING:
    from benchmarks.bench import Bench

EMPTY, FULL = "empty-ledger", "full-ledger"
LEVELS: Final = (1, 64)
RATE_MIN: Final = 0.9
P50_MAX: Final = 1.1


def ledger(bench: Bench) -> Outcome:
    """Measure the same server on an empty ledger and on a long one, in turns."""
    executions = bench.effort.executions
    if shutil.disk_usage(bench.folder).free < executions * BYTES_EACH:
        note = f"ledger: skipped, it takes {executions * BYTES_EACH / 1e9:.0f} GB of free disk"
        return Outcome(scenario="ledger", tables=[], targets=[], figures=[], notes=[note])
    empty_url, full_url = bench.migrated("bench_ledger_empty"), bench.migrated("bench_ledger_full")
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(bench.gatekeeper(empty_url, EMPTY))
        full = stack.enter_context(bench.gatekeeper(full_url, FULL))
        bench.say(f"filling a ledger with {executions:,} executions")
        fill(full_url, executions, bench.say)
        rounds = take_turns(bench, (empty, full), LEVELS, 1)
    failed, said = rounds.failures()
    return Outcome(
        scenario="ledger",
        tables=[_table(executions, rounds)],
        targets=_targets(rounds),
        figures=rounds.figures(),
        failed_calls=failed,
        notes=[said] if said else [],
    )


def _table(executions: int, rounds: Rounds) -> Table:
    header = ["in flight", "empty /s", "p50 ms", "p99 ms", "full /s", "p50 ms", "p99 ms", "full ÷ empty"]
    rows = []
    for level in LEVELS:
        figures = [
            f"{rounds.median(name, level, figure):,.{digits}f}"
            for name in (EMPTY, FULL)
            for figure, digits in (("rate", 0), ("p50_ms", 2), ("p99_ms", 2))
        ]
        rows.append([str(level), *figures, f"{rounds.ratio(FULL, EMPTY, level):.2f}"])
    title = f"reserve + commit cycles a second on an empty ledger and on one of {executions:,} executions, medians"
    return Table(title=title, header=header, rows=rows)


def _targets(rounds: Rounds) -> list[Target]:
    many, lone = max(LEVELS), min(LEVELS)
    return [
        Target(
            what=f"cycles/s at {many} in flight on a full ledger, of an empty one",
            measured=rounds.ratio(FULL, EMPTY, many),
            limit=RATE_MIN,
            unit="x",
            at_least=True,
        ),
        Target(
            what=f"cycles, p50 at {lone} in flight on a full ledger, of an empty one",
            measured=rounds.ratio(FULL, EMPTY, lone, "p50_ms"),
            limit=P50_MAX,
            unit="x",
        ),
    ]
