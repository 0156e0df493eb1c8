"""What is a load to do, and what does it report?"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send where: for a time, or a number of chains when `count` is not zero."""

    port: int
    chain: str
    organization: str = ""
    in_flight: int = 64
    warm_up_s: float = 0.5
    seconds: float = 4.0
    count: int = 0
    watched: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class Report:
    """What was seen between the end of the warm-up and the end; times in milliseconds unless they say otherwise."""

    rate: float = 0.0
    chains: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    calls: int = 0
    admitted: int = 0
    denied: int = 0
    errors: int = 0
    first_error: str = ""
    elapsed_s: float = 0.0
    client_us_per_call: float = 0.0
    watched_us_per_call: list[float] = field(default_factory=list)


def processes(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants; takes milliseconds."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_s(group: Sequence[psutil.Process]) -> float:
    """Return the processor time that these processes have used so far; those that have ended count nothing."""
    spent = 0.0
    for process in group:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system
    return spent
