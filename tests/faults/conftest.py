"""What do tests of faults break? A PostgreSQL of their own, as durable as in earnest, on a port that stays."""

from __future__ import annotations

import random
import secrets
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gatekeeper.embedded import EmbeddedPostgres, EmbeddedSettings
from gatekeeper.embedded.server import is_taken
from tests.conftest import prepare_template, url_of, verify

from .postgres import wake

TEMPLATE = "template_gatekeeper"


@pytest.fixture
def seed() -> int:
    """Return what a test's moments follow from: itself from `--randomly-seed`, and shown when the test fails."""
    return random.getrandbits(32)


@pytest.fixture(scope="session")
def breakable() -> Iterator[EmbeddedPostgres]:
    """Start the worker's PostgreSQL that may be killed: with fsync, synchronous_commit and full_page_writes."""
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        settings = EmbeddedSettings(data_dir=Path(folder), port=_lasting_port(), options={"shared_buffers": "64MB"})
        with EmbeddedPostgres(settings) as server:
            prepare_template(server, TEMPLATE)
            yield server


def _lasting_port() -> int:
    """Return a port below those that systems lend out: nobody may take it while PostgreSQL is down."""
    while is_taken(port := 20_000 + secrets.randbelow(10_000)):
        continue
    return port


@pytest.fixture
def durable_url(breakable: EmbeddedPostgres) -> Iterator[str]:
    """Make a database for one test on the PostgreSQL that may be killed; verify its books afterwards."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(breakable.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
    yield url_of(breakable, name)
    wake(breakable)
    if not breakable.is_alive():
        breakable.start()
    differences = verify(url_of(breakable, name))
    with psycopg.connect(breakable.dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert not differences
