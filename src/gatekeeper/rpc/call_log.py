"""What is logged of each call? One line: what was called, for whom and by whom, what came of it, and how long it took.

Never the token, nor what is in the request beside organization and reservation id. Lines are put together by hand: a
structured logger takes as long for one as the rest of the server for a tenth of the call.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from .line_writer import LineWriter

OK = "OK"
# What came unchecked is shown up to here.
TEXT_LENGTH_MAX = 128


class Entry(NamedTuple):
    """A call that has ended. `outcome` is the verdict on an admission, the reason where there is none, or empty."""

    rpc: str
    code: str
    seconds: float
    organization: str
    reservation_id: str
    outcome: str
    caller: str
    trace_id: str


class CallLog:
    """Lines about calls, as JSON or for people."""

    def __init__(self, descriptor: int, *, only_failed: bool, for_people: bool) -> None:
        """Write to a file descriptor: all calls, or those without a verdict."""
        self.only_failed = only_failed
        self._line = _line_for_people if for_people else _line
        self._writer = LineWriter(descriptor, self._tell_dropped)
        self._second = 0
        self._prefix = ""

    def writing(self) -> AbstractContextManager[None]:
        """Write what is added inside."""
        return self._writer.writing()

    def add(self, entry: Entry) -> None:
        """Log a call."""
        self._writer.add(self._line(self._timestamp(), entry))

    def _timestamp(self) -> str:
        """Return the time as all events have it."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._prefix}.{int((now - second) * 1_000_000):06}Z"

    def _tell_dropped(self, count: int) -> str:
        if self._line is _line:
            return f'{{"event":"calls.dropped","level":"warning","timestamp":"{self._timestamp()}","count":{count}}}\n'
        return f"{self._timestamp()} [warning  ] calls.dropped count={count}\n"


def _line(timestamp: str, entry: Entry) -> str:
    rpc, code, seconds, organization, reservation_id, outcome, caller, trace_id = entry
    level, outcome_name = ("info", "verdict") if code == OK else ("warning", "reason")
    held = f',"reservation_id":{quoted(reservation_id[:TEXT_LENGTH_MAX])}' if reservation_id else ""
    outcome = f',"{outcome_name}":"{outcome}"' if outcome else ""
    return (
        f'{{"event":"call","level":"{level}","timestamp":"{timestamp}","rpc":"{rpc}"'
        f',"organization":{quoted(organization[:TEXT_LENGTH_MAX])}{held},"code":"{code}"{outcome}'
        f',"duration_ms":{seconds * 1000:.3f},"caller":{quoted(caller)},"trace_id":"{trace_id}"}}\n'
    )


def _line_for_people(timestamp: str, entry: Entry) -> str:
    level = "info" if entry.code == OK else "warning"
    # Quoted as JSON, nothing in a name can command the terminal.
    names = " ".join(
        quoted(name[:TEXT_LENGTH_MAX]) for name in (entry.organization, entry.reservation_id, entry.caller)
    )
    return (
        f"{timestamp} [{level:9}] call {entry.rpc:16} {entry.code:20} {entry.outcome:16} {entry.seconds * 1000:9.3f} ms"
        f" {names} trace_id={entry.trace_id}\n"
    )
