"""How are processes started so that they end with us, and recognized later on?"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from gatekeeper.embedded import child
from gatekeeper.embedded.privileges import ServerUser

# What a database has a use for. The rest of our environment may hold secrets, and the user that
# PostgreSQL runs as can read its environment.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "NSS_WRAPPER_PASSWD")
FIXED = {"LC_ALL": "C", "TZ": "UTC"}
PS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the system tells of a running process.

    `started` differs for two processes that had the same pid, `name` is its executable's.
    """

    name: str
    uid: int
    started: str


def environment() -> dict[str, str]:
    """Return the environment of the processes that we start."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | FIXED


def child_command(command: Sequence[str], user: ServerUser | None, *, death_signal: signal.Signals) -> list[str]:
    """Return `command`, to run as `user` and to get `death_signal` when the launching thread ends."""
    identity = (user.uid, user.gid) if user else (child.KEEP, child.KEEP)
    numbers = map(str, (*identity, os.getpid(), int(death_signal)))
    return [sys.executable, "-I", "-S", child.__file__, *numbers, *command]


def start_kept(
    command: Sequence[str], *, fds: Sequence[int] = (), stderr: int | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, from a thread that lives as long as the process.

    The kernel sends the death signal when the launching thread ends: a thread pool's thread that
    started PostgreSQL would take it down on becoming idle. The session keeps a terminal's Ctrl-C
    from PostgreSQL, which must outlive whoever still drains.
    """
    born: Future[subprocess.Popen[bytes]] = Future()

    def keep() -> None:
        try:
            process = subprocess.Popen(
                command,
                cwd="/",
                env=environment(),
                pass_fds=fds,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            born.set_exception(error)
        else:
            born.set_result(process)
            process.wait()

    Thread(target=keep, name="postgresql-keeper", daemon=True).start()
    return born.result()


def look_up(pid: int) -> Process | None:
    """Return the running process `pid`, None when there is none or it is a zombie."""
    return _in_proc(pid) if sys.platform == "linux" else _in_ps(pid)


def _in_proc(pid: int) -> Process | None:
    directory = Path(f"/proc/{pid}")
    try:
        uid = directory.stat().st_uid
        head, _, tail = (directory / "stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return None
    state, *fields = tail.split()
    if state in "ZX":
        return None
    started_after_state = 18  # proc_pid_stat(5): state is field 3, starttime field 22
    return Process(name=head.partition("(")[2], uid=uid, started=fields[started_after_state])


def _in_ps(pid: int) -> Process | None:
    answer = subprocess.run(
        ["ps", "-o", "uid=,state=,lstart=,comm=", "-p", str(pid)],  # noqa: S607 - wherever the system keeps it
        capture_output=True,
        check=False,
        env=environment(),
        text=True,
        timeout=PS_TIMEOUT_S,
    )
    uid, state, *words = answer.stdout.split() or ("0", "Z")
    if state.startswith("Z"):
        return None
    lstart_words = 5  # Thu Nov 20 18:45:54 2026
    name = Path(" ".join(words[lstart_words:])).name
    return Process(name=name, uid=int(uid), started=" ".join(words[:lstart_words]))
