"""How does a PostgreSQL die, or hang?"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from random import Random

import psutil
import psycopg

from gatekeeper.embedded import EmbeddedPostgres

RECOVERY_PATIENCE_S = 30
WAYS_TO_DIE = ("postmaster", "all", "backend")
BACKENDS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE %s AND pid <> pg_backend_pid()"
)


def processes(server: EmbeddedPostgres) -> list[psutil.Process]:
    """Return the postmaster and all processes that it has started."""
    postmaster = psutil.Process(server.pid)
    return [postmaster, *postmaster.children(recursive=True)]


def kill(server: EmbeddedPostgres, way: str, chance: Random) -> None:
    """Kill -9 the postmaster alone, the whole server, or one of its processes; start it again where it has to be.

    Without their postmaster the others end by themselves, after what they are just doing. Without one of the others
    the postmaster ends the rest and recovers.
    """
    postmaster, *others = processes(server)
    if way == "backend":
        others = [other for other in others if not _is_logger(other)]
        send([chance.choice(others)], signal.SIGKILL)
        psutil.wait_procs(others, RECOVERY_PATIENCE_S)
        until_ready(server)
        return
    send([postmaster] if way == "postmaster" else [postmaster, *others], signal.SIGKILL)
    while server.is_alive():
        time.sleep(0.001)
    server.start()


def until_ready(server: EmbeddedPostgres) -> None:
    """Wait until the server takes connections: it may be recovering."""
    deadline = time.monotonic() + RECOVERY_PATIENCE_S
    while True:
        try:
            psycopg.connect(server.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def _is_logger(process: psutil.Process) -> bool:
    """Tell whether it only writes the log: it is replaced without further ado."""
    try:
        return "logger" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def hang(server: EmbeddedPostgres) -> None:
    """Stop every process of the server where it is."""
    send(processes(server), signal.SIGSTOP)


def wake(server: EmbeddedPostgres) -> None:
    """Let a server that hangs go on."""
    if server.is_alive():
        send(processes(server), signal.SIGCONT)


def backends(database_url: str, name: str) -> list[psutil.Process]:
    """Return the processes behind the connections of a database whose application name is like `name`."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        return [psutil.Process(pid) for (pid,) in connection.execute(BACKENDS, [name])]


def send(targets: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to processes, some of which may have ended by now."""
    for target in targets:
        try:
            target.send_signal(number)
        except psutil.NoSuchProcess:
            continue
