"""What is a load to do, and what does it report?"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How a client gets in: with a token; over TLS where a file of authorities is given; with a certificate."""

    token: str = field(default="", repr=False)
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


NOBODY: Final = Credentials()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send where: for a time, or a number of chains when `count` is not zero."""

    port: int
    chain: str
    organization: str = ""
    credentials: Credentials = NOBODY
    in_flight: int = 64
    warm_up_s: float = 0.5
    seconds: float = 4.0
    count: int = 0
    watched: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller of one organization."""

    organization: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Who calls how often, whatever comes back.

    All begin at `begin_s` of the monotonic clock, which processes share. Calls are `even`ly spaced, or each comes at a
    random moment of its interval, so that callers do not fall into step with one another.
    """

    port: int
    callers: tuple[Caller, ...]
    calls_per_s: float
    begin_s: float
    warm_up_s: float = 0.5
    seconds: float = 4.0
    even: bool = False


@dataclass(slots=True, kw_only=True)
class Report:
    """What was seen between the end of the warm-up and the end; times in milliseconds unless they say otherwise.

    `offered` is calls a second that were sent at a pace; `late_p99_ms` is how late they were sent.
    """

    rate: float = 0.0
    chains: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    calls: int = 0
    admitted: int = 0
    denied: int = 0
    refused: int = 0
    errors: int = 0
    first_error: str = ""
    elapsed_s: float = 0.0
    client_us_per_call: float = 0.0
    watched_us_per_call: list[float] = field(default_factory=list)
    offered: float = 0.0
    late_p99_ms: float = 0.0
    refused_p50_ms: float = 0.0
    refused_p99_ms: float = 0.0


def read_plan(text: str) -> Plan:
    """Return the plan that was written as JSON."""
    given = json.loads(text)
    return Plan(**given | {"credentials": Credentials(**given["credentials"])})


def read_pace(text: str) -> Pace:
    """Return the pace that was written as JSON."""
    given = json.loads(text)
    return Pace(**given | {"callers": tuple(Caller(**caller) for caller in given["callers"])})


def percentiles_ms(taken_ns: Sequence[int], *percents: int) -> list[float]:
    """Return the percentiles of some times; zeros when there is none."""
    ranked = sorted(taken_ns)
    if not ranked:
        return [0.0] * len(percents)
    return [ranked[min(len(ranked) * percent // 100, len(ranked) - 1)] / 1e6 for percent in percents]


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
