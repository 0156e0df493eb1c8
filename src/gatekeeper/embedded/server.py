"""How is a server process started, waited for and ended?"""

import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.embedded.connection import HOST, read_connection
from gatekeeper.embedded.errors import StartFailedError
from gatekeeper.embedded.layout import Layout, as_parent, read_owned
from gatekeeper.embedded.postmaster import POLL_S, read_pid_file
from gatekeeper.embedded.privileges import ServerUser, give
from gatekeeper.embedded.processes import start_kept

SOCKET_PATH_MAX = 103  # sun_path holds 104 bytes on macOS, 108 on Linux, the last one a zero
SOCKET_NAME_MAX = len("/.s.PGSQL.65535")
LOG_LINES_MAX = 12
FAST_SHUTDOWN_S = 30.0  # it writes a checkpoint: up to 2 GB of log to catch up with
IMMEDIATE_SHUTDOWN_S = 5.0  # it only ends its processes; the next start recovers
DESCENDANTS_S = 5.0  # after the server itself its logger and orphans remain for milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketPlace:
    """The directory of the Unix socket as the server names it and as clients do."""

    for_server: str
    for_clients: Path


@contextmanager
def socket_place(layout: Layout, user: ServerUser | None) -> Iterator[SocketPlace]:
    """Yield where the socket goes: into the cluster, which is private, unless its path is long."""
    _discard_left_behind(layout)
    if len(os.fsencode(layout.cluster)) + SOCKET_NAME_MAX <= SOCKET_PATH_MAX:
        yield SocketPlace(for_server=".", for_clients=layout.cluster)
        return
    # Not tempfile's default: TMPDIR may be long too, or closed to the server's user.
    short = Path(tempfile.mkdtemp(prefix="gatekeeper-", dir="/tmp"))
    try:
        give(short, user)
        yield SocketPlace(for_server=str(short), for_clients=short)
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _discard_left_behind(layout: Layout) -> None:
    """Remove the short directory of a launcher that was killed."""
    connection = read_connection(layout)
    if connection is None or Path(connection.socket_dir) == layout.cluster:
        return
    with contextlib.suppress(OSError):
        for leftover in Path(connection.socket_dir).glob(".s.PGSQL.*"):
            leftover.unlink()
        Path(connection.socket_dir).rmdir()


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    """Tell whether another process listens on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def start_server(layout: Layout, command: list[str], fds: tuple[int, ...]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server; return its process and its lifeline, a descriptor for `end_server`.

    `fds` are the descriptors that it needs.
    """
    lifeline, held = os.pipe()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    log = os.open(layout.startup_log, flags, 0o600)
    try:
        as_parent(log, layout.root)
        return start_kept(command, fds=(*fds, held), stderr=log), lifeline
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(held)
        os.close(log)


def await_ready(layout: Layout, process: subprocess.Popen[bytes], *, deadline: float) -> bool:
    """Wait until the server accepts connections; False when it has ended instead.

    `deadline` is of the monotonic clock. Raises `StartFailedError` when that passes.
    """
    while process.poll() is None:
        pid_file = read_pid_file(layout)
        if pid_file is not None and pid_file.is_ready and pid_file.pid == process.pid:
            return True
        if time.monotonic() > deadline:
            raise start_failed(layout, "was not ready in time (start_timeout_s)")
        time.sleep(POLL_S)
    return False


def start_failed(layout: Layout, reason: str) -> StartFailedError:
    """Return the error that says `reason` and what the server said last."""
    log = "\n".join(["", *first_words(layout), *_logged_words(layout)])
    return StartFailedError(reason=reason, log_dir=layout.log_dir, log=log)


def first_words(layout: Layout) -> list[str]:
    """Return what the server said at this start before it opened its own log."""
    text = read_owned(layout.startup_log, layout.startup_log.lstat().st_uid) or ""
    return text.splitlines()[-LOG_LINES_MAX:]


def _logged_words(layout: Layout) -> list[str]:
    newest = max(layout.log_dir.glob("*.log"), key=os.path.getmtime, default=None)
    text = read_owned(newest, layout.cluster.stat().st_uid) if newest else None
    return (text or "").splitlines()[-LOG_LINES_MAX:]


def end_server(process: subprocess.Popen[bytes], lifeline: int) -> None:
    """End the server and everything it has started, the gentle way first.

    `lifeline` is the read end of a pipe whose write end the server's processes hold: it ends with
    the last of them, and is closed here.
    """
    steps = ((signal.SIGINT, FAST_SHUTDOWN_S), (signal.SIGQUIT, IMMEDIATE_SHUTDOWN_S))
    for step, patience_s in steps:
        if process.poll() is None:
            process.send_signal(step)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
    process.kill()
    process.wait()
    select.select([lifeline], [], [], DESCENDANTS_S)
    os.close(lifeline)
