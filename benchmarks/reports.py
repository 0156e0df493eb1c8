"""How long does a report over millions of executions take, and what do calls notice of it?

One server on a long ledger answers reserves all the time, with and without somebody who reads reports, in turns.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.bench import ORGANIZATION
from benchmarks.calls import GET_SPEND_SUMMARY_PATH, LIST_CAMPAIGN_SPEND_PATH
from benchmarks.fill import BYTES_EACH, fill
from benchmarks.plan import percentiles_ms
from benchmarks.results import Outcome, Table, Target
from benchmarks.rounds import Rounds, measure
from benchmarks.unary import CallFailedError, call
from gatekeeper_client.v1 import report_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench, Server

ALONE, READ = "unread", "read"
FULL: Final = 64
P95_MS_MAX: Final = 200.0
P99_MAX: Final = 1.25
# The slowest calls of a round vary: more rounds than usual.
MORE: Final = 2
# Between two reads of one report: as several dashboards together that refresh every few seconds.
PAUSE_S: Final = 0.5
POLL_S: Final = 0.5
REPORTS: Final[dict[str, tuple[bytes, type[Any]]]] = {
    "GetSpendSummary": (GET_SPEND_SUMMARY_PATH, report_service_pb2.GetSpendSummaryRequest),
    "ListCampaignSpend": (LIST_CAMPAIGN_SPEND_PATH, report_service_pb2.ListCampaignSpendRequest),
}
# Whether all executions that are final are in the rollups.
CAUGHT_UP: Final = """
SELECT recorded_before >= (SELECT max(committed_at) FROM executions WHERE organization = %(organization)s)
FROM spend_marks WHERE organization = %(organization)s
"""


@dataclass(slots=True)
class Reads:
    """How long the reads of each report took, and what went wrong with the first that failed."""

    taken_ns: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in REPORTS})
    failed: int = 0
    first_error: str = ""

    @contextlib.contextmanager
    def going_on(self, server: Server, after_s: float) -> Iterator[None]:
        """Read all reports again and again, from some time on."""
        end = threading.Event()
        readers = [threading.Thread(target=self._read, args=(server, name, after_s, end)) for name in REPORTS]
        for reader in readers:
            reader.start()
        try:
            yield
        finally:
            end.set()
            for reader in readers:
                reader.join()

    def _read(self, server: Server, name: str, after_s: float, end: threading.Event) -> None:
        path, request = REPORTS[name]
        message = request(organization=ORGANIZATION).SerializeToString()
        if end.wait(after_s):
            return
        while not end.is_set():
            begun_ns = time.perf_counter_ns()
            try:
                call(server.port, path, message, server.credentials)
            except (OSError, CallFailedError) as error:
                self.failed += 1
                self.first_error = self.first_error or f"{name}: {error!r}"
            else:
                self.taken_ns[name].append(time.perf_counter_ns() - begun_ns)
            end.wait(PAUSE_S)


def reports(bench: Bench) -> Outcome:
    """Measure reads and reserves on a long ledger that is added up."""
    executions = bench.effort.executions
    if shutil.disk_usage(bench.folder).free < executions * BYTES_EACH:
        note = f"reports: skipped, it takes {executions * BYTES_EACH / 1e9:.0f} GB of free disk"
        return Outcome(scenario="reports", tables=[], targets=[], figures=[], notes=[note])
    bench = replace(bench, effort=replace(bench.effort, rounds=MORE * bench.effort.rounds))
    url, reads = bench.migrated("bench_reports"), Reads()
    with bench.gatekeeper(url, "reports") as server:
        bench.say(f"filling a ledger with {executions:,} executions")
        fill(url, executions, bench.say)
        _wait_until_added_up(bench, url)
        rounds = _take_turns(bench, server, reads)
    failed, said = rounds.failures()
    return Outcome(
        scenario="reports",
        tables=[_table(executions, rounds), _reads_table(reads)],
        targets=_targets(rounds, reads),
        figures=[*rounds.figures(), {"reads_ms": {n: [ns / 1e6 for ns in t] for n, t in reads.taken_ns.items()}}],
        failed_calls=failed + reads.failed,
        notes=[note for note in (said, reads.first_error) if note],
    )


def _wait_until_added_up(bench: Bench, url: str) -> None:
    begun = time.monotonic()
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(CAUGHT_UP, {"organization": ORGANIZATION}).fetchone() != (True,):
            time.sleep(POLL_S)
    bench.say(f"added up in {time.monotonic() - begun:.0f} s")


def _take_turns(bench: Bench, server: Server, reads: Reads) -> Rounds:
    rounds = Rounds()
    for number in range(1, bench.effort.rounds + 1):
        for name in (ALONE, READ) if number % 2 else (READ, ALONE):
            reading = reads.going_on(server, bench.effort.warm_up_s) if name == READ else contextlib.nullcontext()
            with reading:
                report = measure(bench, server, server.chains[0], FULL)
            rounds.add(name, FULL, report)
            bench.say(
                f"round {number} of {bench.effort.rounds}: {name}, {FULL} in flight: "
                f"{report.rate:,.0f}/s, p50 {report.p50_ms:.2f} ms, p99 {report.p99_ms:.2f} ms"
            )
    return rounds


def _table(executions: int, rounds: Rounds) -> Table:
    rows = [
        [
            name,
            f"{rounds.median(name, FULL, 'rate'):,.0f}",
            f"{rounds.median(name, FULL, 'p50_ms'):.2f}",
            f"{rounds.median(name, FULL, 'p99_ms'):.2f}",
            f"{rounds.ratio(name, ALONE, FULL, 'p99_ms'):.2f}",
        ]
        for name in (ALONE, READ)
    ]
    title = f"reserves a second at {FULL} in flight on {executions:,} executions, with and without reports; medians"
    return Table(title=title, header=["reports", "/s", "p50 ms", "p99 ms", "p99 ÷ unread"], rows=rows)


def _reads_table(reads: Reads) -> Table:
    rows = [
        [name, f"{len(taken)}", *(f"{ms:.1f}" for ms in percentiles_ms(taken, 50, 95, 100))]
        for name, taken in reads.taken_ns.items()
    ]
    return Table(title="reports meanwhile", header=["report", "reads", "p50 ms", "p95 ms", "max ms"], rows=rows)


def _targets(rounds: Rounds, reads: Reads) -> list[Target]:
    return [
        *(
            Target(
                what=f"{name}, p95 beside reserves at {FULL} in flight",
                measured=percentiles_ms(taken, 95)[0],
                limit=P95_MS_MAX,
                unit="ms",
            )
            for name, taken in reads.taken_ns.items()
        ),
        Target(
            what=f"reserves, p99 at {FULL} in flight beside reports, of none",
            measured=rounds.ratio(READ, ALONE, FULL, "p99_ms"),
            limit=P99_MAX,
            unit="x",
        ),
    ]
