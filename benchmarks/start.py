"""How long does it take from starting the program to its first verdict?"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Final

from benchmarks.bench import INSECURE, free_port, gatekeeper, patiently
from benchmarks.calls import RESERVE_PATH, reserve, uuid7_text
from benchmarks.results import Outcome, Table, Target
from benchmarks.unary import call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench

RUNNING_MAX_S: Final = 1.0
FRESH_MAX_S: Final = 3.0
RUNNING, FRESH, AGAIN = "running database", "fresh embedded database", "embedded database, second start"


def start(bench: Bench) -> Outcome:
    """Start the server on a running database, with a fresh embedded one, and again on that, in turns."""
    url = bench.migrated("bench_start")
    taken_s: dict[str, list[float]] = {RUNNING: [], FRESH: [], AGAIN: []}
    for number in range(1, bench.effort.rounds + 1):
        data_dir = ["--data-dir", str(bench.folder / f"start-{number}")]
        for name, place in ((RUNNING, ["--database-url", url]), (FRESH, data_dir), (AGAIN, data_dir)):
            taken_s[name].append(_first_verdict_s(bench, place))
            bench.say(f"round {number} of {bench.effort.rounds}: {name}: {taken_s[name][-1]:.2f} s")
    rows = [
        [name, f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}", f"{max(seconds):.2f}"]
        for name, seconds in taken_s.items()
    ]
    return Outcome(
        scenario="start",
        tables=[
            Table(title="from start to the first verdict, s", header=["start", "median", "best", "worst"], rows=rows)
        ],
        targets=[_target(RUNNING, taken_s[RUNNING], RUNNING_MAX_S), _target(FRESH, taken_s[FRESH], FRESH_MAX_S)],
        figures=[{"start": name, "seconds": seconds} for name, seconds in taken_s.items()],
    )


def _first_verdict_s(bench: Bench, place: Sequence[str]) -> float:
    """Start a server, reserve for an organization that is new to it, stop it; return the seconds to the verdict."""
    request = reserve(f"start-{time.time_ns()}").message(0, uuid7_text())
    port = free_port()
    begun = time.perf_counter()
    command = [*gatekeeper("serve"), "--listen", f"127.0.0.1:{port}", *place]
    with bench.running(command, "start", INSECURE.settings) as process:
        patiently(process, lambda: call(port, RESERVE_PATH, request))
        return time.perf_counter() - begun


def _target(name: str, seconds: Sequence[float], limit: float) -> Target:
    return Target(what=f"start, {name}", measured=statistics.median(seconds), limit=limit, unit="s")
