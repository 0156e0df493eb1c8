"""How do processes share a log file that people read, without tearing a line or filling the disk?

Each appends whole lines under a lock that ends with whoever has it. A file that would grow too large becomes the first
of some older ones beside it, of which the oldest is given up.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_BYTES_MAX = 5_000_000
OLDER_FILES = 5
# How long to wait for other processes that write to the same file, and how often to look.
LOCK_PATIENCE_S = 1.0
LOCK_POLL_S = 0.02


class RotatingFile:
    """A file that any number of processes append to; `header` is what each one begins with."""

    def __init__(
        self, path: Path, *, header: str = "", bytes_max: int = FILE_BYTES_MAX, older_files: int = OLDER_FILES
    ) -> None:
        """Write to this path, from the first append on, which makes its folder."""
        self.path = path
        self._header = header.encode()
        self._bytes_max = bytes_max
        self._older_files = older_files

    def append(self, pieces: Iterable[str]) -> None:
        """Append pieces of whole lines, each in full or not at all. Blocks for a second at most; raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.with_name(f".{self.path.name}.lock")):
            for piece in pieces:
                self._write(piece.encode())

    def _write(self, lines: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size + len(lines) > self._bytes_max:
            self._rotate()
        opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        try:
            size = os.fstat(opened).st_size
            text = lines if size else self._header + lines
            if os.write(opened, text) < len(text):
                os.ftruncate(opened, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(opened)

    def _rotate(self) -> None:
        for number in range(self._older_files - 1, 0, -1):
            older = self._older(number)
            if older.exists():
                older.replace(self._older(number + 1))
        self.path.replace(self._older(1))

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out, by a lock that ends with whoever has it. Raises TimeoutError."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not _lock(opened):
            if time.monotonic() > deadline:
                message = "another process does not let go of its lock"
                raise TimeoutError(errno.ETIMEDOUT, message)
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(opened)


def _lock(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
