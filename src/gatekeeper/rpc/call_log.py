"""What is logged of each call? One line: what was called, for whom and by whom, what came of it, and how long it took.

Never the token, nor what is in the request beside organization and reservation id. Lines are put together by hand: a
structured logger takes as long for one as the rest of the server for a tenth of the call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from .line_writer import LineWriter

OK = "OK"
# What came unchecked is shown up to here.
TEXT_LENGTH_MAX = 128


class Entry(NamedTuple):
    """A call that has ended. `outcome` is the verdict on an admission, the reason where there is none, or empty.

    `is_fine` where there is nothing to warn of.
    """

    rpc: str
    code: str
    seconds: float
    organization: str
    reservation_id: str
    outcome: str
    caller: str
    trace_id: str
    is_fine: bool


class CallLog:
    """Lines about calls, as JSON or for people."""

    def __init__(self, lines: LineWriter, *, only_failed: bool, for_people: bool) -> None:
        """Log all calls, or those without a verdict."""
        self.only_failed = only_failed
        self._line = _line_for_people if for_people else _line
        self._lines = lines
        self._second = 0
        self._prefix = ""

    def add(self, entry: Entry) -> None:
        """Log a call."""
        self._lines.add(self._line(self._timestamp(), entry))

    def _timestamp(self) -> str:
        """Return the time as all events have it."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._prefix = _to_the_second(second)
            self._second = second
        return f"{self._prefix}.{int((now - second) * 1_000_000):06}Z"


def dropped_line(*, for_people: bool) -> Callable[[int], str]:
    """Return what makes the line that says how many lines are missing."""

    def line(count: int) -> str:
        timestamp = f"{_to_the_second(int(time.time()))}Z"
        if for_people:
            return f"{timestamp} [warning  ] lines.dropped count={count}\n"
        return f'{{"event":"lines.dropped","level":"warning","timestamp":"{timestamp}","count":{count}}}\n'

    return line


def _to_the_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _line(timestamp: str, entry: Entry) -> str:
    rpc, code, seconds, organization, reservation_id, outcome, caller, trace_id, is_fine = entry
    level = "info" if is_fine else "warning"
    outcome_name = "verdict" if code == OK else "reason"
    held = f',"reservation_id":{quoted(reservation_id[:TEXT_LENGTH_MAX])}' if reservation_id else ""
    outcome = f',"{outcome_name}":"{outcome}"' if outcome else ""
    return (
        f'{{"event":"call","level":"{level}","timestamp":"{timestamp}","rpc":"{rpc}"'
        f',"organization":{quoted(organization[:TEXT_LENGTH_MAX])}{held},"code":"{code}"{outcome}'
        f',"duration_ms":{seconds * 1000:.3f},"caller":{quoted(caller)},"trace_id":"{trace_id}"}}\n'
    )


def _line_for_people(timestamp: str, entry: Entry) -> str:
    level = "info" if entry.is_fine else "warning"
    # Quoted as JSON, nothing in a name can command the terminal.
    names = " ".join(
        quoted(name[:TEXT_LENGTH_MAX]) for name in (entry.organization, entry.reservation_id, entry.caller)
    )
    return (
        f"{timestamp} [{level:9}] call {entry.rpc:16} {entry.code:20} {entry.outcome:16} {entry.seconds * 1000:9.3f} ms"
        f" {names} trace_id={entry.trace_id}\n"
    )
