"""How do many log lines get out without anybody waiting for whoever reads them?

A thread of its own writes them, ten times a second. Where nobody reads, lines are dropped, and counted.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL_S = 0.1
# Lines that wait: some seconds of a busy server, and 10 MB.
LINES_MAX = 30_000
# Other processes, and other threads of this one, may write to the same pipe. What is larger could get mixed with it.
WRITE_BYTES_MAX = 4096
# How long the last lines may take when the server stops.
PATIENCE_S = 1.0


class LineWriter:
    """Lines on their way to a file descriptor."""

    def __init__(self, descriptor: int, tell_dropped: Callable[[int], str]) -> None:
        """Write to `descriptor`, which stays open; `tell_dropped` makes a line that says how many are missing."""
        self._descriptor = descriptor
        self._tell_dropped = tell_dropped
        self._lines: deque[str] = deque()
        # How many are missing: counted by those who add, and by the thread; and what of it the thread has told.
        self._dropped = 0
        self._given_up = 0
        self._told = 0
        self._ended = threading.Event()
        # Set for what should not wait for the next time.
        self._hurry = threading.Event()
        self._deadline = math.inf
        self._is_writing = False

    @property
    def missing(self) -> int:
        """How many lines were dropped or given up so far."""
        return self._dropped + self._given_up

    def add(self, line: str) -> None:
        """Have a line written, which ends with a line break, or drop it if too many wait."""
        if len(self._lines) < LINES_MAX:
            self._lines.append(line)
        else:
            self._dropped += 1

    async def caught_up(self) -> None:
        """Wait until what was added is written, or for a while where nobody reads."""
        self._hurry.set()
        deadline = time.monotonic() + PATIENCE_S
        # The thread sets no event of the loop's: it must not touch the loop at all.
        while (self._lines or self._is_writing) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(INTERVAL_S / 10)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write all lines that are added, until the end of what is inside."""
        # It may hang in a write for ever, which must not keep the process from ending.
        thread = threading.Thread(target=self._write_on, name="log-lines", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._deadline = time.monotonic() + PATIENCE_S
            self._ended.set()
            self._hurry.set()
            thread.join(PATIENCE_S + 2 * INTERVAL_S)

    def _write_on(self) -> None:
        while not self._ended.is_set():
            self._hurry.wait(INTERVAL_S)
            self._hurry.clear()
            self._write_waiting()
        self._write_waiting()
        self._given_up += len(self._lines)

    def _write_waiting(self) -> None:
        """Write what waits now, and then how many lines are missing after it."""
        missing = self.missing
        waiting = len(self._lines)
        self._is_writing = waiting > 0
        while waiting and not self._is_too_late():
            chunk, count = self._take(waiting)
            waiting -= count
            # A closed pipe says so at every write; calls are answered nevertheless.
            if not self._write(chunk):
                self._given_up += count
        if missing > self._told and self._write(self._tell_dropped(missing - self._told).encode()):
            self._told = missing
        self._is_writing = False

    def _take(self, count_max: int) -> tuple[bytes, int]:
        """Take whole lines, together up to WRITE_BYTES_MAX where none is longer; return them, and how many."""
        chunk = bytearray()
        count = 0
        while count < count_max:
            # A name may hold half of a surrogate pair.
            encoded = self._lines[0].encode(errors="backslashreplace")
            if chunk and len(chunk) + len(encoded) > WRITE_BYTES_MAX:
                break
            chunk += encoded
            count += 1
            self._lines.popleft()
        return bytes(chunk), count

    def _write(self, chunk: bytes) -> bool:
        """Write all of it, however long that takes while the server runs; tell whether that went well."""
        written = 0
        while written < len(chunk) and not self._is_too_late():
            try:
                if self._has_room():
                    written += os.write(self._descriptor, chunk[written:])
            except BlockingIOError:
                time.sleep(INTERVAL_S / 10)
            except OSError:
                return False
        return written == len(chunk)

    def _has_room(self) -> bool:
        """Wait for a while until something can be written; tell whether it can. A closed pipe can, and then fails."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(INTERVAL_S * 1000))

    def _is_too_late(self) -> bool:
        return time.monotonic() > self._deadline
