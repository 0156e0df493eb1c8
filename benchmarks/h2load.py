"""Does another client, written in C, get more out of the same server? Then ours would be the limit."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.calls import EMPTY_PATH
from benchmarks.http2 import framed

if TYPE_CHECKING:
    from pathlib import Path

RATE: Final = re.compile(r"([\d.]+) req/s")
CALLS: Final = re.compile(r"(\d+) succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class H2Load:
    """What h2load saw on the empty call."""

    rate: float
    client_us_per_call: float


def h2load(port: int, *, in_flight: int, seconds: float, warm_up_s: float, folder: Path) -> H2Load | None:
    """Load the empty call of the server on this port over one connection; None where h2load is not installed."""
    program = shutil.which("h2load")
    if program is None:
        return None
    body = folder / "empty-call"
    body.write_bytes(framed(b""))
    command = [
        program, f"--duration={seconds * 1000:.0f}ms", f"--warm-up-time={warm_up_s * 1000:.0f}ms", "--clients=1",
        f"--max-concurrent-streams={in_flight}", f"--data={body}",
        "--header=content-type: application/grpc", "--header=te: trailers",
        f"http://127.0.0.1:{port}{EMPTY_PATH.decode()}",
    ]  # fmt: skip
    before = _children_cpu_s()
    said = subprocess.run(command, check=True, capture_output=True, text=True, process_group=0).stdout
    spent_s = _children_cpu_s() - before
    rate, calls = RATE.search(said), CALLS.search(said)
    if rate is None or calls is None:
        return None
    share = seconds / (seconds + warm_up_s)
    return H2Load(rate=float(rate[1]), client_us_per_call=spent_s * share * 1e6 / max(int(calls[1]), 1))


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
