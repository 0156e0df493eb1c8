"""How long does the invoice of a busy month take, with how much memory, and what do calls notice of it?

`gatekeeper invoice` as a process, for PDF and CSV: alone, and again and again beside reserves, in turns.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from benchmarks.bench import ORGANIZATION, environment, gatekeeper
from benchmarks.fill import BYTES_EACH, fill
from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import Rounds, measure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Bench, Server

ALONE, BILLED = "unbilled", "billed"
FULL: Final = 64
# Ten months of so many executions each.
IN_A_MONTH: Final = 100_000
MONTHS: Final = 10
S_MAX: Final = 10.0
MB_MAX: Final = 300.0
P99_MAX: Final = 1.25
# An export takes some seconds: rounds that see all of it.
LONGER: Final = 4
EXPORTS: Final = 5
POLL_S: Final = 0.01
ENTRIES: Final = "SELECT count(*) FROM executions WHERE organization = %s AND month = %s"


@dataclass(slots=True)
class Exports:
    """What exports took: seconds, and at most how many bytes the command and what renders had together."""

    took_s: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    failed: int = 0
    first_error: str = ""

    def once(self, server: Server, period: str, folder: Path) -> None:
        """Export the month's draft, as PDF and CSV."""
        command = [*gatekeeper("invoice"), period, "--draft", "--format", "pdf", "--format", "csv"]
        command += ["--organization", ORGANIZATION, "--target", f"127.0.0.1:{server.port}", "--output", str(folder)]
        before = set(psutil.Process(server.pid).children(recursive=True))
        begun_s = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(), process_group=0
        ) as process:
            peak = 0
            while process.poll() is None:
                peak = max(peak, _resident(process.pid) + sum(_resident(each.pid) for each in _new(server, before)))
                time.sleep(POLL_S)
            said = process.stderr.read().decode() if process.stderr else ""
        if process.returncode:
            self.failed += 1
            self.first_error = self.first_error or said
            return
        self.took_s.append(time.perf_counter() - begun_s)
        self.peak_bytes.append(peak)

    @contextlib.contextmanager
    def going_on(self, server: Server, period: str, folder: Path) -> Iterator[None]:
        """Export again and again."""
        end = threading.Event()

        def export() -> None:
            while not end.is_set():
                self.once(server, period, folder)

        exporting = threading.Thread(target=export)
        exporting.start()
        try:
            yield
        finally:
            end.set()
            exporting.join()


def _new(server: Server, before: set[psutil.Process]) -> list[psutil.Process]:
    return [each for each in psutil.Process(server.pid).children(recursive=True) if each not in before]


def _resident(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def invoices(bench: Bench) -> Outcome:
    """Measure exports of a month's invoice, and reserves beside them."""
    executions = min(bench.effort.executions, MONTHS * IN_A_MONTH)
    if shutil.disk_usage(bench.folder).free < executions * BYTES_EACH:
        note = f"invoices: skipped, it takes {executions * BYTES_EACH / 1e9:.0f} GB of free disk"
        return Outcome(scenario="invoice", tables=[], targets=[], figures=[], notes=[note])
    bench = replace(bench, effort=replace(bench.effort, seconds=LONGER * bench.effort.seconds))
    url, folder = bench.migrated("bench_invoices"), bench.folder / "invoices"
    alone, beside = Exports(), Exports()
    with bench.gatekeeper(url, "invoices") as server:
        fill(url, executions, bench.say)
        period = f"{datetime.now(UTC).replace(day=1) - timedelta(days=1):%Y-%m}"
        with psycopg.connect(url) as connection:
            row = connection.execute(ENTRIES, (ORGANIZATION, period)).fetchone()
        for number in range(EXPORTS):
            alone.once(server, period, folder)
            bench.say(f"export {number + 1} of {EXPORTS}")
        rounds = _take_turns(bench, server, beside, period, folder)
    failed, said = rounds.failures()
    entries = row[0] if row else 0
    return Outcome(
        scenario="invoice",
        tables=[_exports_table(entries, alone, beside), _table(rounds)],
        targets=_targets(rounds, alone),
        figures=[*rounds.figures(), {"alone_s": alone.took_s, "beside_s": beside.took_s}],
        failed_calls=failed + alone.failed + beside.failed,
        notes=[note for note in (said, alone.first_error, beside.first_error) if note],
    )


def _take_turns(bench: Bench, server: Server, exports: Exports, period: str, folder: Path) -> Rounds:
    rounds = Rounds()
    for number in range(1, bench.effort.rounds + 1):
        for name in (ALONE, BILLED) if number % 2 else (BILLED, ALONE):
            billing = exports.going_on(server, period, folder) if name == BILLED else contextlib.nullcontext()
            with billing:
                report = measure(bench, server, server.chains[0], FULL)
            rounds.add(name, FULL, report)
            bench.say(
                f"round {number} of {bench.effort.rounds}: {name}, {FULL} in flight: "
                f"{report.rate:,.0f}/s, p50 {report.p50_ms:.2f} ms, p99 {report.p99_ms:.2f} ms"
            )
    return rounds


def _exports_table(entries: int, alone: Exports, beside: Exports) -> Table:
    rows = [
        [
            name,
            f"{len(each.took_s)}",
            f"{statistics.median(each.took_s or [0]):.1f}",
            f"{max(each.took_s, default=0):.1f}",
            f"{max(each.peak_bytes, default=0) / 1e6:.0f}",
        ]
        for name, each in (("alone", alone), (f"beside {FULL} in flight", beside))
    ]
    title = f"the invoice of a month of {entries:,} executions, as PDF and CSV"
    return Table(title=title, header=["exports", "how many", "median s", "max s", "peak MB"], rows=rows)


def _table(rounds: Rounds) -> Table:
    rows = [
        [
            name,
            f"{rounds.median(name, FULL, 'rate'):,.0f}",
            f"{rounds.median(name, FULL, 'p50_ms'):.2f}",
            f"{rounds.median(name, FULL, 'p99_ms'):.2f}",
            f"{rounds.ratio(name, ALONE, FULL):.2f}",
            f"{rounds.ratio(name, ALONE, FULL, 'p99_ms'):.2f}",
        ]
        for name in (ALONE, BILLED)
    ]
    title = f"reserves a second at {FULL} in flight, with and without invoices; medians"
    return Table(title=title, header=["invoices", "/s", "p50 ms", "p99 ms", "÷ unbilled", "p99 ÷ unbilled"], rows=rows)


def _targets(rounds: Rounds, alone: Exports) -> list[Target]:
    return [
        Target(
            what=f"an invoice of {IN_A_MONTH:,} executions, PDF and CSV",
            measured=statistics.median(alone.took_s or [0]),
            limit=S_MAX,
            unit="s",
        ),
        Target(
            what="its memory, of the command and what renders",
            measured=max(alone.peak_bytes, default=0) / 1e6,
            limit=MB_MAX,
            unit="MB",
        ),
        Target(
            what=f"reserves, p99 at {FULL} in flight beside invoices, of none",
            measured=rounds.ratio(BILLED, ALONE, FULL, "p99_ms"),
            limit=P99_MAX,
            unit="x",
        ),
    ]
