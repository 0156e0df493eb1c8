"""What do callers hear while the database is away, and afterwards?"""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2

from gatekeeper.embedded import EmbeddedPostgres
from tests.conftest import TERMINATE, Server, cut_off

from .refusals import refusal
from .requests import VALID, send, valid
from .wire import Wire, decimals, until

QUICKLY_S = 4
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def own(server: Server, database_url: str) -> Iterator[Wire]:
    """Return a server with a database of its own."""
    wire = Wire(server.address, database_url)
    yield wire
    wire.close()


def test_every_call_is_refused_quickly_and_served_again(postgres: EmbeddedPostgres, own: Wire) -> None:
    """UNAVAILABLE with a time to come back, within seconds; health says so too; all recovers by itself."""
    own.hold("o", "2", reservation_id="before")
    with cut_off(postgres, own.database_url):
        for name in VALID:
            began = time.monotonic()
            refused = refusal(send, own, name, valid(name))
            assert time.monotonic() - began < QUICKLY_S
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            assert refused.retry_delay_s
            assert "postgres" not in refused.message.lower()
        until(lambda: own.health() != SERVING)
        began = time.monotonic()
        assert refusal(own.reserve, "o", "1").code == grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - began < 1
    until(lambda: own.health() == SERVING)
    assert own.hold("o", "2", reservation_id="before")
    own.hold("o", "1")
    assert decimals(own.budget("o"))[1] == 3


def test_connections_that_were_cut_are_replaced(postgres: EmbeddedPostgres, own: Wire) -> None:
    """A database that was away between two calls only is not noticed by the second."""
    own.hold("o", "1")
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(TERMINATE, (own.database.info.dbname,))
    assert own.status("o").can_execute
    own.hold("o", "1")
    assert decimals(own.budget("o"))[1] == 2
