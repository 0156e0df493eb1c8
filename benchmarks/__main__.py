"""How is the benchmark run? `uv run python -m benchmarks`, from the top of the checkout; `--help` tells the rest."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from benchmarks.access import access
from benchmarks.bench import ROOT, Bench, Effort, ServerFailedError
from benchmarks.eyes import eyes
from benchmarks.invoices import invoices
from benchmarks.isolation import isolation
from benchmarks.ledger import ledger
from benchmarks.memory import memory
from benchmarks.reports import reports
from benchmarks.results import Outcome, machine, save, targets_table
from benchmarks.start import start
from benchmarks.throughput import cycles, reserves
from gatekeeper.embedded import EmbeddedPostgres, EmbeddedSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCENARIOS: Final[dict[str, Callable[[Bench], Outcome]]] = {
    "throughput": reserves,
    "cycle": cycles,
    "access": access,
    "isolation": isolation,
    "eyes": eyes,
    "memory": memory,
    "start": start,
    "ledger": ledger,
    "reports": reports,
    "invoice": invoices,
}
FULL: Final = Effort(
    rounds=5,
    seconds=2.5,
    warm_up_s=0.5,
    levels=(1, 8, 64, 256),
    cycle_levels=(1, 64),
    memory_reserves=200_000,
    executions=10_000_000,
)
QUICK: Final = Effort(
    rounds=1,
    seconds=0.8,
    warm_up_s=0.3,
    levels=(1, 64),
    cycle_levels=(1, 64),
    memory_reserves=5_000,
    executions=100_000,
)


def main() -> int:
    """Run the scenarios, print their tables, and write the JSON file; return 1 when a call failed."""
    arguments = _arguments()
    effort = _effort(arguments)
    names = arguments.only or list(SCENARIOS)
    signal.signal(signal.SIGTERM, _leave)
    with contextlib.suppress(KeyboardInterrupt), _failing_cleanly(), _bench(effort) as bench:
        outcomes = []
        surroundings = machine(bench.server_url)
        _write(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in surroundings.items()), "")
        for name in names:
            outcomes.append(SCENARIOS[name](bench))
            _show(outcomes[-1])
        _write(targets_table(outcomes).text())
        save(arguments.json, surroundings, asdict(effort), outcomes)
        return 1 if any(outcome.failed_calls for outcome in outcomes) else 0
    return 130


@contextlib.contextmanager
def _bench(effort: Effort) -> Iterator[Bench]:
    """Start a PostgreSQL that keeps its promises (fsync is on) in a folder that is removed at the end."""
    begun = time.monotonic()

    def say(line: str) -> None:
        _write(f"[{time.monotonic() - begun:5.0f} s] {line}", to=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="gatekeeper-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with EmbeddedPostgres(EmbeddedSettings(data_dir=folder / "postgres")) as postgres:
            yield Bench(effort=effort, server_url=postgres.dsn, postgres_pid=postgres.pid, folder=folder, say=say)


@contextlib.contextmanager
def _failing_cleanly() -> Iterator[None]:
    try:
        yield
    except ServerFailedError as failed:
        _write(f"benchmarks: {failed}", to=sys.stderr)
        sys.exit(1)


def _show(outcome: Outcome) -> None:
    for table in outcome.tables:
        _write(table.text(), "")
    if outcome.failed_calls:
        _write(f"{outcome.failed_calls:,} calls failed or were denied: do not trust the figures above.", "")
    for note in outcome.notes:
        _write(note, "")


def _write(*lines: str, to: TextIO | None = None) -> None:
    stream = to or sys.stdout
    stream.writelines(f"{line}\n" for line in lines)
    stream.flush()


def _effort(arguments: argparse.Namespace) -> Effort:
    given = {name: value for name in ("rounds", "seconds", "executions") if (value := getattr(arguments, name))}
    return replace(QUICK if arguments.quick else FULL, **given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the server beside two baselines."
    )
    parser.add_argument("--quick", action="store_true", help="one short round: a check that it runs, not a measurement")
    parser.add_argument("--rounds", type=int, help=f"rounds, of which medians are taken ({FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"how long each measurement takes ({FULL.seconds:g})")
    parser.add_argument("--executions", type=int, help=f"size of the full ledger ({FULL.executions:,})")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="just this scenario; may be repeated")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "benchmarks" / "results" / "latest.json", help="where the figures go"
    )
    return parser.parse_args()


def _leave(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
