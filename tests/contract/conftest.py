"""What do the tests of the wire share? One server and one database for all tests of a worker, an organization each.

Their books are verified at the end.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from gatekeeper.embedded import EmbeddedPostgres
from tests.conftest import Server, address_of, served_url, server_environment, url_of, verify
from tests.serving import start_serving

from .overriding import Office
from .secured import Secured
from .wire import Wire, until

FAKE_CLOCK = """
CREATE SCHEMA fake;
CREATE TABLE fake.clock (now timestamptz NOT NULL);
INSERT INTO fake.clock VALUES ('2030-01-01');
CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now FROM fake.clock';
GRANT USAGE ON SCHEMA fake TO gatekeeper_server;
GRANT SELECT ON fake.clock TO gatekeeper_server;
"""
SEARCH_PATH = "?options=-csearch_path%3Dfake,public,pg_catalog"
WARY = {
    "GATEKEEPER_INSECURE": "0",
    "GATEKEEPER_OVERRIDE_SECOND_ADMIN_ABOVE": "50",
    "GATEKEEPER_OVERRIDES_MAX": "2",
}
OVERDUE = "SELECT reservation_id FROM reservations WHERE state = 'HELD' AND expires_at <= clock_timestamp()"


@contextmanager
def _database(postgres: EmbeddedPostgres, template: str, name: str) -> Iterator[str]:
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type]
        yield url_of(postgres, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


@contextmanager
def _served(url: str, folder: Path, **environment: str) -> Iterator[Wire]:
    """Yield the wire of a server that lives as long as the worker."""
    log = folder / "server.log"
    process = start_serving(
        *("--listen", "127.0.0.1:0", "--database-url", served_url(url)),
        log=log,
        environment=server_environment(folder, **environment),
    )
    wire = Wire(address_of(process, log), url)
    with process.stdout:
        yield wire
        wire.close()
        assert Server(process=process, address=wire.address).stop() == 0


@pytest.fixture(scope="session")
def wire(postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Return the server of this worker, with the settings that everyone gets."""
    with _database(postgres, template, "contract") as url:
        with _served(url, tmp_path_factory.mktemp("contract")) as wire:
            yield wire
        assert verify(url) == []


@pytest.fixture(scope="session")
def second_wire(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Return another server of this worker, on the database of `wire`."""
    with _served(wire.database_url, tmp_path_factory.mktemp("second")) as second:
        yield second


@pytest.fixture(scope="session")
def secured(postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return a server of this worker that asks for tokens."""
    with _database(postgres, template, "contract_secured") as url:
        with _served(url, tmp_path_factory.mktemp("secured"), GATEKEEPER_INSECURE="0") as wire:
            yield Secured(wire)
        assert verify(url) == []


@pytest.fixture(scope="session")
def wary(postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return a server of this worker that asks for tokens, and for two admins above 50."""
    with _database(postgres, template, "contract_wary") as url:
        with _served(url, tmp_path_factory.mktemp("wary"), **WARY) as wire:
            yield Secured(wire)
        assert verify(url) == []


@pytest.fixture
def office(wary: Secured, organization: str) -> Office:
    """Open an organization for one test."""
    return Office(wary, organization)


@pytest.fixture
def organization(request: pytest.FixtureRequest) -> str:
    """Name an organization that nobody knows yet, after the test, so that what it spoils can be told at the end."""
    return f"{request.node.originalname}-{uuid.uuid4().hex[:8]}"[-128:]


class Clock:
    """The clock of a server, which stands still until it is set. Each test has a year to itself."""

    def __init__(self, wire: Wire) -> None:
        """Set the clock of the database behind `wire`."""
        self.wire = wire
        self.year = 2030

    def set(self, instant: str) -> datetime:
        """Set it to an instant of the test's year, like `01-31T23:59:59+00:00`."""
        now = datetime.fromisoformat(f"{self.year}-{instant}").astimezone(UTC)
        self.wire.sql("UPDATE fake.clock SET now = %s", now)
        return now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.wire.sql("UPDATE fake.clock SET now = now + %s", by)

    def swept(self) -> None:
        """Wait until every overdue hold has been ended."""
        until(lambda: not self.wire.sql(OVERDUE))


@pytest.fixture(scope="session")
def clocked(postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clock]:
    """Return a server of this worker whose clock tests set."""
    with _database(postgres, template, "contract_clock") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FAKE_CLOCK)
        faked = url + SEARCH_PATH
        with _served(
            faked,
            tmp_path_factory.mktemp("clock"),
            GATEKEEPER_SWEEP_INTERVAL_S="0.05",
            GATEKEEPER_ROLLUP_INTERVAL_S="0.05",
        ) as wire:
            clock = Clock(wire)
            yield clock
            clock.swept()
        assert verify(faked) == []


@pytest.fixture
def clock(clocked: Clock) -> Clock:
    """Begin a year that no test has seen."""
    clocked.year += 1
    clocked.set("01-01T00:00:00+00:00")
    return clocked
