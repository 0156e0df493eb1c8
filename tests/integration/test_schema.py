"""Do the migrations make the tables that the code knows, safely and once?"""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import OperationalError

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services import setup
from gatekeeper.storage import schema
from gatekeeper.storage.tables import metadata
from gatekeeper_client import Client, Unavailable
from tests.conftest import ServerFactory, server_environment, url_of

PATIENCE_S = 20


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Make a database without any tables."""
    name = f"e_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield url_of(postgres, name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_migrated_tables_are_those_of_the_code(database_url: str) -> None:
    """A comparison of the migrated schema with the tables in the code finds no difference."""
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_every_constraint_of_the_code_is_in_the_database(database_url: str) -> None:
    """CHECK constraints, which a comparison leaves out, are there by name."""
    with psycopg.connect(database_url) as connection:
        found = {row[0] for row in connection.execute("SELECT conname FROM pg_constraint WHERE contype = 'c'")}
    known = {str(constraint.name) for table in metadata.tables.values() for constraint in table.constraints}
    assert known - found == {f"{name}_pkey" for name in metadata.tables}


def test_two_migrations_at_once_make_one_schema(empty_url: str) -> None:
    """Whoever comes second waits, and finds nothing left to do."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for done in [pool.submit(asyncio.run, setup.prepare(empty_url)) for _ in range(2)]:
            done.result()
    assert asyncio.run(setup.is_ready(empty_url))


def test_a_migration_gives_up_on_a_lock_that_it_does_not_get(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails within its timeout, before calls queue behind it, and changes nothing."""
    monkeypatch.setattr(schema, "LOCK_TIMEOUT_S", 1)
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", (schema.MIGRATION_LOCK,))
        with pytest.raises(OperationalError, match="lock timeout"):
            schema.migrate(database_url)


@pytest.mark.parametrize("revision", ["", "9999"])
def test_serve_refuses_a_schema_that_it_does_not_know(empty_url: str, revision: str, tmp_path: Path) -> None:
    """An empty or a newer database is refused with what to do about it."""
    if revision:
        with psycopg.connect(empty_url) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num text)")
            connection.execute("INSERT INTO alembic_version VALUES (%s)", (revision,))
    finished = subprocess.run(
        [sys.executable, "-m", "gatekeeper", "serve", "--listen", "127.0.0.1:0", "--database-url", empty_url],
        capture_output=True,
        text=True,
        timeout=60,
        env=server_environment(tmp_path),
        check=False,
    )
    assert finished.returncode == 1
    hint = "newer one" if revision else "gatekeeper migrate"
    assert hint in finished.stderr.splitlines()[-1]


def test_a_server_of_another_version_answers_no_more(start_server: ServerFactory, database_url: str) -> None:
    """Once another version has migrated, it would miscount what that one keeps; back at its own schema it serves on."""
    server = start_server(database_url=database_url, GATEKEEPER_PROBE_INTERVAL_S="0.05")
    with psycopg.connect(database_url, autocommit=True) as connection, Client(server.address, timeout_s=5) as client:
        for revision, served in (("9999", False), (schema.REVISION, True)):
            connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))
            deadline = time.monotonic() + PATIENCE_S
            while answers(client) is not served:
                assert time.monotonic() < deadline


def answers(client: Client) -> bool:
    """Tell whether there is a verdict."""
    try:
        client.reserve("acme", amount="0.01")
    except Unavailable:
        return False
    return True
