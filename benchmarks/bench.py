"""What does every scenario share: how long, how often, on which database, with which processes?"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from benchmarks.calls import SET_CAP_PATH, huge_cap
from benchmarks.plan import NOBODY, Credentials
from benchmarks.unary import CallFailedError, call
from gatekeeper_client.v1 import budget_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).parents[1]
ORGANIZATION: Final = "bench"
START_S: Final = 30.0
STOP_S: Final = 20.0
POLL_S: Final = 0.005
# Whatever the caller's shell says about servers must not reach the ones that are measured.
OWN_NAMES: Final = ("GATEKEEPER_", "MAX_MONTHLY_BUDGET", "ALLOW_BUDGET_OVERRIDE", "BILLING_API_URL", "PG")
# More than any scenario uses, so that no limit is measured unawares.
ROOM: Final = {
    "GATEKEEPER_CALLS_PER_S_MAX": "1000000",
    "GATEKEEPER_OPEN_HOLDS_MAX": "10000000",
    "GATEKEEPER_OPEN_HOLDS_PER_CALLER_MAX": "10000000",
}


class ServerFailedError(Exception):
    """A server that should be measured ended, or did not answer; carries the last lines it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    seconds: float
    warm_up_s: float
    levels: tuple[int, ...]
    cycle_levels: tuple[int, ...]
    memory_reserves: int
    executions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """How a server lets callers in; how the agent does that is measured, and the operator who prepares."""

    settings: Mapping[str, str]
    agent: Credentials = NOBODY
    operator: Credentials = NOBODY


INSECURE: Final = Door(settings={"GATEKEEPER_INSECURE": "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server under measurement, on a port of this machine."""

    name: str
    port: int
    pid: int
    credentials: Credentials = NOBODY
    chains: tuple[str, str] = ("reserve", "cycle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where scenarios find what they need; `server_url` names the PostgreSQL, `folder` is removed at the end."""

    effort: Effort
    server_url: str
    postgres_pid: int
    folder: Path
    say: Callable[[str], None]

    def database(self, name: str) -> str:
        """Create a database of this name; return its URL."""
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"{self.server_url.rpartition('/')[0]}/{name}"

    def migrated(self, name: str) -> str:
        """Create a database with the server's schema; return its URL."""
        url = self.database(name)
        said("migrate", "--database-url", url)
        return url

    @contextlib.contextmanager
    def gatekeeper(self, url: str, name: str = "gatekeeper", door: Door = INSECURE) -> Iterator[Server]:
        """Run our server on a migrated database, with caps and limits that leave room; the door's settings win."""
        port = free_port()
        command = [*gatekeeper("serve"), "--listen", f"127.0.0.1:{port}", "--database-url", url]
        with self.running(command, name, ROOM | dict(door.settings)) as process:
            self.open_budgets(port, process, door.operator)
            yield Server(name=name, port=port, pid=process.pid, credentials=door.agent)

    @contextlib.contextmanager
    def row_lock(self, url: str) -> Iterator[Server]:
        """Run baseline (b)."""
        port = free_port()
        with self.running([*baseline("row-lock", port), "--database-url", url], "row-lock") as process:
            self.open_budgets(port, process)
            yield Server(name="row-lock", port=port, pid=process.pid)

    @contextlib.contextmanager
    def empty(self) -> Iterator[Server]:
        """Run baseline (a)."""
        port = free_port()
        with self.running(baseline("empty", port), "empty") as process:
            patiently(process, lambda: socket.create_connection(("127.0.0.1", port)).close())
            yield Server(name="empty", port=port, pid=process.pid, chains=("empty", "empty-twice"))

    @contextlib.contextmanager
    def running(
        self, command: Sequence[str], name: str, settings: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process of its own group, so that Ctrl-C reaches it through us alone; stop it at the end."""
        log = self.folder / f"{name}.log"
        environ = environment() | {"GATEKEEPER_LOGS_DIR": str(self.folder / "logs"), **(settings or {})}
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, cwd=ROOT, process_group=0)
            try:
                yield process
            except (OSError, CallFailedError, TimeoutError) as error:
                tail = log.read_text(errors="replace").splitlines()[-15:]
                raise ServerFailedError("\n".join([f"{name}: {error!r}", *tail])) from error
            finally:
                stop(process)

    def open_budgets(self, port: int, process: subprocess.Popen[bytes], credentials: Credentials = NOBODY) -> None:
        """Wait until the server takes calls; set caps on the organization and its campaign."""
        for kind in (budget_pb2.SCOPE_KIND_ORGANIZATION, budget_pb2.SCOPE_KIND_CAMPAIGN):
            cap = huge_cap(ORGANIZATION, kind)
            patiently(process, functools.partial(call, port, SET_CAP_PATH, cap, credentials))


def patiently(process: subprocess.Popen[bytes], attempt: Callable[[], object]) -> None:
    """Repeat an attempt until the server answers it; give up when its process has ended or after 30 s."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            attempt()
        except (OSError, CallFailedError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
        else:
            return


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, the gentle way first."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def gatekeeper(*words: str) -> list[str]:
    """Return the command line of our own program, as installed beside this Python."""
    return [str(Path(sys.executable).with_name("gatekeeper")), *words]


def said(*words: str) -> str:
    """Run our own program with these words; return what it printed. Raises `ServerFailedError`."""
    done = subprocess.run(
        gatekeeper(*words), check=False, capture_output=True, text=True, env=environment(), cwd=ROOT, process_group=0
    )
    if done.returncode:
        raise ServerFailedError(done.stderr)
    return done.stdout


def baseline(name: str, port: int) -> list[str]:
    """Return the command line of a baseline."""
    return [sys.executable, "-m", "benchmarks.baselines", name, "--port", str(port)]


def environment() -> dict[str, str]:
    """Return the environment of the processes that are measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN_NAMES)}


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
