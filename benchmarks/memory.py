"""How much memory does the server take, and does it grow with what it has done?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import psutil

from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import measure

if TYPE_CHECKING:
    from benchmarks.bench import Bench

IN_FLIGHT: Final = 64
RESIDENT_MAX_MB: Final = 120
# To leak the smallest of objects with each call would be 48 bytes 200,000 times, 9.6 MB.
GROWTH_MAX_MB: Final = 5


def memory(bench: Bench) -> Outcome:
    """Measure the resident memory of a fresh server, and after two equal numbers of reserves."""
    count = bench.effort.memory_reserves
    with bench.gatekeeper(bench.migrated("bench_memory")) as server:
        resident_mb, reports = [_resident_mb(server.pid)], []
        for number in (1, 2):
            reports.append(measure(bench, server, "reserve", IN_FLIGHT, count))
            resident_mb.append(_resident_mb(server.pid))
            bench.say(f"memory after {number * count:,} reserves: {resident_mb[-1]:.1f} MB")
    rows = [
        [f"{number * count:,}", f"{megabytes:.1f}", f"{report.rate:,.0f}" if report else ""]
        for number, (megabytes, report) in enumerate(zip(resident_mb, [None, *reports], strict=True))
    ]
    return Outcome(
        scenario="memory",
        tables=[Table(title="resident memory of the server", header=["reserves", "MB", "reserves/s"], rows=rows)],
        targets=[
            Target(what=f"memory after {count:,} reserves", measured=resident_mb[1], limit=RESIDENT_MAX_MB, unit="MB"),
            Target(
                what=f"growth over {count:,} more",
                measured=resident_mb[2] - resident_mb[1],
                limit=GROWTH_MAX_MB,
                unit="MB",
            ),
        ],
        figures=[{"resident_mb": resident_mb}, *map(asdict, reports)],
        failed_calls=sum(report.errors + report.denied for report in reports),
        notes=[report.first_error for report in reports if report.first_error],
    )


def _resident_mb(pid: int) -> float:
    """Return the resident memory of a process in millions of bytes; what its children share counts for each."""
    root = psutil.Process(pid)
    resident: int = sum(process.memory_info().rss for process in (root, *root.children(recursive=True)))
    return resident / 1e6
