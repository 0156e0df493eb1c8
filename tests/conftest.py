"""What do tests stand on? A real PostgreSQL for each worker, a fresh database for each test, real server processes.

After each test that used a database, its books are verified.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from gatekeeper.embedded import EmbeddedPostgres, EmbeddedSettings
from gatekeeper.storage.grants import SERVER_ROLE
from tests.serving import ServerProcess, start_serving

# Durability is tested where a test asks for a server of its own; everywhere else its price is saved.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    # Each new database writes ten megabytes, which are not to fill the memory they may lie in.
    "max_wal_size": "256MB",
}
# Where they lie: in memory, if there is room for what all workers write.
MEMORY = Path("/dev/shm")  # noqa: S108 - for a folder with a name of its own
MEMORY_BYTES_MIN = 4 * 2**30
TRACE = Path(__file__).parents[2] / "shared" / "data" / "claude_code_calls" / "claude_code_calls.csv.gz"
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
# Budgets that stand above a threshold which is not marked as told, or have a mark without any alert. Of each only its
# latest period: other thresholds are nothing to those that are over.
UNTOLD = """
SELECT format('%s, %s %s, %s %s: %s untold, marked up to %s', organization, scope_kind, scope_id, budget_window, period,
              basis, told)
FROM (
    SELECT DISTINCT ON (organization, scope_kind, scope_id, budget_window) * FROM balances
    ORDER BY organization, scope_kind, scope_id, budget_window, period DESC
) AS latest
JOIN budgets USING (organization, scope_kind, scope_id, budget_window)
CROSS JOIN LATERAL (VALUES ('SPENT', spent, alerted_spent), ('USED', spent + reserved, alerted_used))
    AS marks(basis, amount, told)
WHERE EXISTS (
    SELECT FROM unnest(thresholds) AS t(threshold)
    WHERE amount > 0 AND threshold > told AND 100 * amount >= threshold * latest.cap
) OR told > 0 AND NOT EXISTS (
    SELECT FROM alerts a
    WHERE (a.organization, a.scope_kind, a.scope_id, a.budget_window, a.period)
        = (latest.organization, scope_kind, scope_id, budget_window, period)
        -- The breaker tells one thing of a budget that it makes.
        AND ((a.basis, a.kind) = (marks.basis, 'THRESHOLD') OR a.kind = 'RUNAWAY')
)
"""
# Ends all connections to a database, and waits until they are gone.
TERMINATE = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
# What servers of this worker log in with. It stays, for several of them share a PostgreSQL.
SERVER_PASSWORD = secrets.token_urlsafe()


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the servers, tokens and data of whoever runs the tests out of them; let Ctrl-C end what they start.

    Whoever runs them in the background of a script has it ignored, in all that they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GATEKEEPER_", "BILLING_API_URL"))]:
            patch.delenv(name)
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GATEKEEPER_LOGS_DIR", str(tmp_path_factory.mktemp("logs")))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """Start the PostgreSQL of this worker."""
    with (
        tempfile.TemporaryDirectory(prefix="gk-", dir=_spacious_memory()) as folder,
        EmbeddedPostgres(EmbeddedSettings(data_dir=Path(folder), options=FAST)) as server,
    ):
        yield server


def _spacious_memory() -> Path | None:
    """Return where files lie in memory; None where there is no such folder, or little room."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN else None


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres) -> str:
    """Return the name of a database with schema, price book and grants, to copy from."""
    name = "template_gatekeeper"
    prepare_template(postgres, name)
    return name


def prepare_template(server: EmbeddedPostgres, name: str) -> None:
    """Make a database to copy from, and the role that servers have on its copies."""
    from gatekeeper.services import setup

    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {SERVER_ROLE} LOGIN PASSWORD '{SERVER_PASSWORD}'".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = url_of(server, name)
    asyncio.run(setup.prepare(url, server_role=SERVER_ROLE))
    with psycopg.connect(url) as connection:
        # Each test begins the audit trail, with a key of its own or none.
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE audit_events RESTART IDENTITY")


def wait_until(holds: Callable[[], bool], *, timeout_s: float = 30) -> None:
    """Wait until `holds`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Make a database for one test; verify its books afterwards."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        url = url_of(postgres, name)
        yield url
        differences = verify(url)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert not differences


@contextmanager
def cut_off(server: EmbeddedPostgres, url: str) -> Iterator[None]:
    """End all connections to a database, and take none for as long as the block lasts."""
    name = urlsplit(url).path[1:]
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        try:
            connection.execute(TERMINATE, [name])
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


def verify(url: str) -> list[str]:
    """Return what the books of a database get wrong, and which crossings of thresholds nobody was told of."""
    from gatekeeper.services.verification import verify_books

    with psycopg.connect(url) as connection:
        untold = [line for (line,) in connection.execute(UNTOLD).fetchall()]
    return [str(difference) for difference in asyncio.run(verify_books(url)).differences] + untold


def url_of(server: EmbeddedPostgres, database: str) -> str:
    """Return the URL of another database of a server."""
    return urlunsplit(urlsplit(server.dsn)._replace(path=f"/{database}"))


def served_url(url: str) -> str:
    """Return the URL of a superuser's database as servers get it: as their role, which owns nothing."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{SERVER_ROLE}:{SERVER_PASSWORD}@{place}"))


@dataclass(kw_only=True)
class Server:
    """A `gatekeeper serve` process."""

    process: ServerProcess
    address: str

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as an operator would; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


ServerFactory = Callable[..., Server]


def server_environment(folder: Path, **environment: str) -> dict[str, str]:
    """Return the environment of a server that asks nobody for a token, unless told, and writes into `folder`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GATEKEEPER_")}
    return clean | {"GATEKEEPER_INSECURE": "1", "GATEKEEPER_LOGS_DIR": str(folder)} | environment


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[ServerFactory]:
    """Return what starts server processes, which end with the test."""
    started: list[Server] = []

    def start(*arguments: str, database_url: str | None = None, **environment: str) -> Server:
        log = tmp_path / f"server-{len(started)}.log"
        on_database = [] if database_url is None else ["--database-url", served_url(database_url)]
        process = start_serving(
            *("--listen", "127.0.0.1:0", *arguments, *on_database),
            log=log,
            environment=server_environment(tmp_path / f"logs-{len(started)}", **environment),
        )
        server = Server(process=process, address=address_of(process, log))
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.terminate()
    for server in started:
        try:
            server.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
        server.process.stdout.close()


def address_of(process: ServerProcess, log: Path) -> str:
    """Return where a server says that it serves."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if found := re.search(r"serves on (\S+)", line):
            return found[1]
        if not line and process.poll() is not None:
            break
    process.kill()
    raise AssertionError(log.read_text())


@pytest.fixture
def server(start_server: ServerFactory, database_url: str) -> Server:
    """Start one server on the test's database."""
    return start_server(database_url=database_url)


@pytest.fixture(scope="session")
def trace() -> Path:
    """Return the file of real calls; skip where it is missing."""
    if not TRACE.is_file():
        pytest.skip("the file of real calls is not beside the project")
    return TRACE
