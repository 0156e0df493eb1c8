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
        runs = {
            "reserves": take_turns(bench, (empty, full), LEVELS, 0),
            "reserve + commit cycles": take_turns(bench, (empty, full), LEVELS, 1),
        }
    failures = [rounds.failures() for rounds in runs.values()]
    return Outcome(
        scenario="ledger",
        tables=[_table(executions, runs)],
        targets=[target for noun, rounds in runs.items() for target in _targets(noun, rounds)],
        figures=[{"measured": noun, **figure} for noun, rounds in runs.items() for figure in rounds.figures()],
        failed_calls=sum(count for count, _ in failures),
        notes=[said for _, said in failures if said],
    )


def _table(executions: int, runs: dict[str, Rounds]) -> Table:
    header = ["", "in flight", "empty /s", "p50 ms", "p99 ms", "full /s", "p50 ms", "p99 ms", "full ÷ empty"]
    rows = []
    for noun, rounds in runs.items():
        for level in LEVELS:
            figures = [
                f"{rounds.median(name, level, figure):,.{digits}f}"
                for name in (EMPTY, FULL)
                for figure, digits in (("rate", 0), ("p50_ms", 2), ("p99_ms", 2))
            ]
            rows.append([noun, str(level), *figures, f"{rounds.ratio(FULL, EMPTY, level):.2f}"])
    return Table(title=f"an empty ledger beside one of {executions:,} executions", header=header, rows=rows)


def _targets(noun: str, rounds: Rounds) -> list[Target]:
    many, lone = max(LEVELS), min(LEVELS)
    return [
        Target(
            what=f"{noun}/s on the full ledger at {many} in flight, of the empty one",
            measured=rounds.ratio(FULL, EMPTY, many),
            limit=RATE_MIN,
            unit="x",
            at_least=True,
        ),
        Target(
            what=f"{noun}, p50 on the full ledger at {lone} in flight, of the empty one",
            measured=rounds.ratio(FULL, EMPTY, lone, "p50_ms"),
            limit=P50_MAX,
            unit="x",
        ),
    ]
