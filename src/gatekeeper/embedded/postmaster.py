"""Is a PostgreSQL at work on a cluster, left behind by a launcher that was killed?

PostgreSQL's own guard is `postmaster.pid`. It errs on one side: when the pid in a stale file now
belongs to any other process of the same user, it refuses to start for ever. We look closer, and
then let PostgreSQL look itself: besides the pid it checks that nobody uses the shared memory that
the file names, so a wrong answer of ours cannot make two servers write the same files.
"""

import contextlib
import os
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.embedded.connection import is_same_process, read_connection
from gatekeeper.embedded.errors import DataDirectoryInUseError
from gatekeeper.embedded.layout import Layout, read_owned
from gatekeeper.embedded.processes import look_up

POLL_S = 0.01
STRANGER_PATIENCE_S = 3.0  # a server that is not ours may be on its way out; longer is no accident
STATUS_LINE = 7  # miscadmin.h: LOCK_FILE_LINE_PM_STATUS, counted from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What `postmaster.pid` says: whose it is, and whether that server accepts connections."""

    pid: int
    is_ready: bool


def read_pid_file(layout: Layout) -> PidFile | None:
    """Return what `postmaster.pid` says, None when there is none or it is not complete yet."""
    text = read_owned(layout.postmaster_pid, layout.cluster.stat().st_uid)
    lines = text.splitlines() if text else []
    try:
        pid = abs(int(lines[0]))  # a single-user server writes its pid as a negative number
    except (IndexError, ValueError):
        return None
    return PidFile(pid=pid, is_ready=lines[STATUS_LINE : STATUS_LINE + 1] == ["ready   "])


def clear_the_way(layout: Layout, *, patience_s: float) -> None:
    """See to it that no server runs on the cluster and that no stale file keeps one from starting.

    To be called by the sole launcher. A server that an earlier launcher left behind is told to
    shut down and waited for, `patience_s` at most; one that somebody started by hand is not ours
    to stop. Raises `DataDirectoryInUseError`.
    """
    pid_file = read_pid_file(layout)
    if pid_file is None:
        return
    ours = _is_left_behind(layout, pid_file.pid)
    if ours and _runs_on(layout.cluster, pid_file.pid):
        os.kill(pid_file.pid, signal.SIGINT)
    deadline = time.monotonic() + (patience_s if ours else min(patience_s, STRANGER_PATIENCE_S))
    while _runs_on(layout.cluster, pid_file.pid):
        if time.monotonic() > deadline:
            raise DataDirectoryInUseError(data_dir=layout.root, pid=pid_file.pid)
        time.sleep(POLL_S)
    _disown(layout)


def _is_left_behind(layout: Layout, pid: int) -> bool:
    connection = read_connection(layout)
    return connection is not None and connection.pid == pid and is_same_process(connection)


def _runs_on(cluster: Path, pid: int) -> bool:
    """Tell whether `pid` is a PostgreSQL on `cluster`; assume so where we may not look closer."""
    process = look_up(pid)
    if process is None or process.name != "postgres" or process.uid != cluster.stat().st_uid:
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(cluster)
    except OSError:  # no /proc, or a container's root, who may not look into other users' processes
        return look_up(pid) == process


def _disown(layout: Layout) -> None:
    """Put our pid into a stale `postmaster.pid`.

    PostgreSQL takes a file with its parent's pid for stale whatever runs. Unlike a removal, this
    leaves it the lines that name the shared memory.
    """
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(layout.postmaster_pid, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "r+b") as file:
            status = os.fstat(fd)
            owner = layout.cluster.stat().st_uid
            if status.st_uid != owner or status.st_nlink != 1 or not stat.S_ISREG(status.st_mode):
                return
            lines = file.read().splitlines(keepends=True)
            file.seek(0)
            file.writelines([f"{os.getpid()}\n".encode(), *lines[1:]])
            file.truncate()
