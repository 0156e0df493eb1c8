"""How do two launchers keep out of each other's data directory?

With a lock that the kernel releases when its holder ends, however it ends. The lock file stays:
removing it would let two launchers lock two files of the same name.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gatekeeper.embedded.errors import DataDirectoryInUseError, DataDirectoryUnusableError
from gatekeeper.embedded.layout import Layout, as_parent
from gatekeeper.embedded.processes import look_up

HOLDER_PATIENCE_S = 2.0
PID_BYTES_MAX = 32


@contextmanager
def sole_launcher(layout: Layout) -> Iterator[None]:
    """Hold the data directory; raises `DataDirectoryInUseError` when another launcher does."""
    try:
        fd = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise DataDirectoryUnusableError(data_dir=layout.root, reason=error) from error
    try:
        _lock(fd, layout)
        as_parent(fd, layout.root)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _lock(fd: int, layout: Layout) -> None:
    """Take the lock, at once or when a holder that is just ending has let it go.

    The threads of a killed process end one after the other: it counts as gone before its last
    thread has closed the file.
    """
    deadline = time.monotonic() + HOLDER_PATIENCE_S
    try:
        while not _is_taken(fd):
            if (pid := _holder(fd)) or time.monotonic() > deadline:
                holder = pid or "(unknown, of another container or host)"
                raise DataDirectoryInUseError(data_dir=layout.root, pid=holder)
            time.sleep(0.01)
    except OSError as error:  # a network file system without locks
        raise DataDirectoryUnusableError(data_dir=layout.root, reason=error) from error
    os.ftruncate(fd, 0)


def _is_taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> str | None:
    """Return the living process in the lock file, which its holder writes right after it got the lock."""
    pid = os.pread(fd, PID_BYTES_MAX, 0).decode(errors="replace").strip()
    return pid if pid.isdecimal() and look_up(int(pid)) else None
