"""How do many log lines get out without anybody waiting for whoever reads them?

A thread of its own writes them, ten times a second. Where nobody reads, lines are dropped, and counted.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

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
        # How many are missing, which those who add count, and what of it the thread has told.
        self._dropped = 0
        self._told = 0
        self._ended = threading.Event()

    def add(self, line: str) -> None:
        """Have a line written, which ends with a line break, or drop it if too many wait."""
        if len(self._lines) < LINES_MAX:
            self._lines.append(line)
        else:
            self._dropped += 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write all lines that are added inside."""
        # It may hang in a write for ever, which must not keep the process from ending.
        thread = threading.Thread(target=self._write_on, name="call-log", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(PATIENCE_S)

    def _write_on(self) -> None:
        # A closed pipe says so at every write; calls are answered nevertheless.
        while not self._ended.wait(INTERVAL_S):
            with suppress(OSError):
                self._write_waiting()
        with suppress(OSError):
            self._write_waiting()

    def _write_waiting(self) -> None:
        if missing := self._dropped - self._told:
            self._told += missing
            self._lines.append(self._tell_dropped(missing))
        for chunk in chunks([self._lines.popleft() for _ in range(len(self._lines))]):
            written = 0
            while written < len(chunk):
                written += os.write(self._descriptor, chunk[written:])


def chunks(lines: list[str]) -> Iterator[bytes]:
    """Yield whole lines, together up to WRITE_BYTES_MAX where none is longer."""
    chunk = bytearray()
    for line in lines:
        encoded = line.encode()
        if chunk and len(chunk) + len(encoded) > WRITE_BYTES_MAX:
            yield bytes(chunk)
            chunk.clear()
        chunk += encoded
    if chunk:
        yield bytes(chunk)
