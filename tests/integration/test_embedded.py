"""Does the embedded PostgreSQL start, survive, recover and end? Where it may lie: `..._places`."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from gatekeeper.embedded import (
    DataDirectoryInUseError,
    EmbeddedPostgres,
    EmbeddedSettings,
    NotStartedError,
    find_running,
)
from gatekeeper.embedded.processes import look_up
from gatekeeper.embedded.server import free_port
from tests.conftest import wait_until

IS_ROOT = os.geteuid() == 0
SMALL = {"fsync": "off", "shared_buffers": "16MB"}  # nobody pulls a plug here
LAUNCHER = """
import sys, time
from pathlib import Path
from gatekeeper.embedded import EmbeddedPostgres, EmbeddedSettings
postgres = EmbeddedPostgres(EmbeddedSettings(data_dir=Path(sys.argv[1]), options={"fsync": "off"}))
postgres.start()
print(postgres.pid, flush=True)
time.sleep(600)
"""


class Launch(Protocol):
    """Starts a server on `data_dir`, which ends with the test."""

    def __call__(self, data_dir: Path, **settings: Any) -> EmbeddedPostgres: ...


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Yield what starts a small server and stops it after the test."""
    with ExitStack() as stack:

        def start(data_dir: Path, **settings: Any) -> EmbeddedPostgres:
            chosen = replace(EmbeddedSettings(data_dir=data_dir, options=SMALL), **settings)
            return stack.enter_context(EmbeddedPostgres(chosen))

        yield start


@contextmanager
def launched_elsewhere(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield another process that launches on `data_dir`, and the pid of its server."""
    command = [sys.executable, "-c", LAUNCHER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        try:
            assert launcher.stdout is not None
            yield launcher, int(launcher.stdout.readline())
        finally:
            launcher.kill()


def ask(dsn: str, query: str, **how: str) -> object:
    """Return the first column of the first row of `query`, if there is one."""
    with psycopg.connect(dsn, autocommit=True, **how) as connection:  # type: ignore[arg-type]
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def kill_and_await(pid: int) -> None:
    """Kill `pid` and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: look_up(pid) is None)


def test_first_start_creates_a_durable_database_that_answers_over_tcp(tmp_path: Path, launch: Launch) -> None:
    """The first start makes a UTF8 database with checksums, durable commits and private secrets."""
    postgres = launch(tmp_path / "d", options={})
    assert postgres.dsn.endswith(f"@127.0.0.1:{postgres.port}/gatekeeper")
    wanted = {"server_encoding": "UTF8", "data_checksums": "on", "fsync": "on"}
    wanted |= {"synchronous_commit": "on", "timezone": "UTC", "shared_buffers": "256MB"}
    assert wanted == {name: ask(postgres.dsn, f"SHOW {name}") for name in wanted}
    assert ask(postgres.dsn, "SELECT current_user || current_database()") == "gatekeeper" * 2
    assert ask(postgres.dsn, "SELECT 'É' ~ '[[:upper:]]' AND 'a' > 'B'") is True
    secrets = [tmp_path / "d" / name for name in ("password", "connection.json")]
    assert [path.stat().st_mode & 0o777 for path in secrets] == [0o600, 0o600]
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert ask(postgres.dsn, "SELECT inet_client_addr()", host=str(postgres.socket_dir)) is None


def test_data_outlives_the_server(tmp_path: Path, launch: Launch) -> None:
    """What was written before a stop is there after the next start, and nothing runs between."""
    postgres = launch(tmp_path)
    ask(postgres.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    first, pid = postgres.dsn, postgres.pid
    assert find_running(tmp_path) == first
    postgres.stop()
    assert (look_up(pid), find_running(tmp_path)) == (None, None)
    with pytest.raises(NotStartedError):
        _ = postgres.dsn
    postgres.start()
    assert ask(postgres.dsn, "SELECT answer FROM kept") == 42
    postgres.stop()
    assert not (tmp_path / "connection.json").exists()


def test_the_server_ends_with_a_killed_launcher(tmp_path: Path, launch: Launch) -> None:
    """After kill -9 of the launcher its server shuts down; the next start cleans up."""
    data_dir = tmp_path / ("long" * 30)
    with launched_elsewhere(data_dir) as (launcher, pid):
        assert ask(str(find_running(data_dir)), "SELECT 1") == 1
        launcher.kill()
        wait_until(lambda: look_up(pid) is None)
    left = json.loads((data_dir / "connection.json").read_text())
    assert find_running(data_dir) is None
    assert Path(left["socket_dir"]).exists()
    assert launch(data_dir).is_alive()
    assert not Path(left["socket_dir"]).exists()


def test_the_server_does_not_end_with_the_thread_that_started_it(tmp_path: Path, launch: Launch) -> None:
    """A thread may start the server and end: the server lives as long as the process."""
    with ThreadPoolExecutor(1) as pool:
        postgres = pool.submit(launch, tmp_path).result()
    time.sleep(0.3)
    assert postgres.is_alive()
    assert ask(postgres.dsn, "SELECT 1") == 1


def test_a_killed_server_recovers_on_the_next_start(tmp_path: Path, launch: Launch) -> None:
    """What was committed before kill -9 of the server is there after the next start."""
    postgres = launch(tmp_path, options={"shared_buffers": "16MB"})
    ask(postgres.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
    kill_and_await(postgres.pid)
    assert not postgres.is_alive()
    assert find_running(tmp_path) is None
    postgres.start()
    assert ask(postgres.dsn, "SELECT answer FROM kept") == 42


def test_a_start_waits_for_what_a_killed_server_left_running(tmp_path: Path, launch: Launch) -> None:
    """While a backend of a killed server still uses its memory, the next start waits."""
    with (
        launched_elsewhere(tmp_path) as (launcher, pid),
        psycopg.connect(str(find_running(tmp_path))) as connection,
    ):
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        kill_and_await(pid)
        kill_and_await(launcher.pid)
        resumption = threading.Timer(0.5, os.kill, (backend, signal.SIGCONT))
        resumption.start()
        started = time.monotonic()
        assert ask(launch(tmp_path).dsn, "SELECT 1") == 1
        assert time.monotonic() - started > 0.4
        assert look_up(backend) is None


def test_a_start_never_joins_a_server_that_still_runs(tmp_path: Path, launch: Launch) -> None:
    """A server that outlives its launcher is waited for; the start gives up before it is gone."""
    with launched_elsewhere(tmp_path) as (launcher, pid):
        os.kill(pid, signal.SIGSTOP)  # now the death signal takes no effect
        kill_and_await(launcher.pid)
        try:
            with pytest.raises(DataDirectoryInUseError, match=f"{pid}"):
                launch(tmp_path, start_timeout_s=0.5)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert launch(tmp_path).pid != pid
        assert look_up(pid) is None


def test_a_start_waits_for_the_lock_of_a_launcher_that_is_just_ending(tmp_path: Path, launch: Launch) -> None:
    """A killed launcher is a zombie before its last thread has closed the lock file."""
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    with (tmp_path / "launcher.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{ended.pid}\n")
        lock.flush()
        threading.Timer(0.3, fcntl.flock, (lock.fileno(), fcntl.LOCK_UN)).start()
        assert ask(launch(tmp_path).dsn, "SELECT 1") == 1


def test_of_two_launchers_one_wins(tmp_path: Path, launch: Launch) -> None:
    """Of launchers that start together one gets the data directory, the others hear from whom."""
    with ThreadPoolExecutor(3) as pool:
        attempts = [pool.submit(launch, tmp_path) for _ in range(3)]
    errors = [error for attempt in attempts if (error := attempt.exception())]
    assert [type(error) for error in errors] == [DataDirectoryInUseError] * 2
    assert all(str(os.getpid()) in str(error) for error in errors)
    (winner,) = (attempt.result() for attempt in attempts if not attempt.exception())
    assert ask(winner.dsn, "SELECT 1") == 1
    with pytest.raises(DataDirectoryInUseError, match=str(winner.pid)):
        winner.start()


def test_a_stale_pid_file_that_names_a_living_process_does_not_matter(tmp_path: Path, launch: Launch) -> None:
    """A pid that now is another process of the server's user keeps no server from starting."""
    postgres = launch(tmp_path)
    owner = (tmp_path / "postgres").stat()
    kill_and_await(postgres.pid)
    postgres.stop()
    stranger = subprocess.Popen(["/bin/sleep", "60"], user=owner.st_uid if IS_ROOT else None)
    try:
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        _, rest = pid_file.read_text().split("\n", 1)
        pid_file.write_text(f"{stranger.pid}\n{rest}")
        assert ask(launch(tmp_path).dsn, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_stale_record_is_not_believed(tmp_path: Path, launch: Launch) -> None:
    """A record counts only while its process is the same one and its password is right."""
    assert find_running(tmp_path / "absent") is None
    record = tmp_path / "connection.json"
    postgres = launch(tmp_path)
    truth = json.loads(record.read_text())
    lies = (
        {"pid": os.getpid()},
        {"started": "0"},
        {"dsn": truth["dsn"].replace("@", "x@")},
        {"dsn": "nonsense"},
        {"dsn": truth["dsn"].replace(str(postgres.port), str(free_port()))},
        {"more": 1},
    )
    for lie in lies:
        record.write_text(json.dumps(truth | lie))
        assert find_running(tmp_path) is None
    record.write_text(json.dumps(truth))
    assert find_running(tmp_path) == postgres.dsn
