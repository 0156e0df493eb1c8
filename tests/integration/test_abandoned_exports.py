"""What is left of an export whose caller goes away in the middle? No process, and its place is free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import psutil
import psycopg
import pytest

from gatekeeper.rpc.invoice_exports import PARTY_EXPORTS_MAX
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import invoice_pb2
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub
from tests.conftest import Server, ServerFactory, wait_until

# Whose CSV is some ten megabytes: more than a connection and a pipe take while nobody reads.
CALLS = 40_000
ROUNDS = 3
FILL = f"""
INSERT INTO organizations (organization) VALUES ('acme');
INSERT INTO executions (organization, reservation_id, kind, campaign, day, month, committed_at, cost, reserved_amount,
    outcome)
SELECT 'acme', 'r-' || n, 'COMMIT', repeat('spring', 20), to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
    to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'), now() - n * interval '1 millisecond', 1, 1, 'SUCCEEDED'
FROM generate_series(1, {CALLS}) n
"""
TIMEOUT_S = 60


@pytest.fixture
def server(start_server: ServerFactory, database_url: str) -> Iterator[Server]:
    """Start a server on the books of many calls, which were made behind its back and are taken away again."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FILL.encode())
        server = start_server(database_url=database_url, GATEKEEPER_ROLLUP_INTERVAL_S="3600")
        yield server
        assert server.stop() == 0
        connection.execute("SET session_replication_role = replica")
        connection.execute("TRUNCATE executions, spend_rollups, spend_marks")


def children(server: Server) -> list[int]:
    """Return the processes that render for a server."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    return [child.pid for child in found if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def exporting(server: Server) -> Iterator[Any]:
    """Yield what begins the export of a draft with a row for each call."""
    request = pb.ExportInvoiceRequest(organization="acme", formats=[invoice_pb2.INVOICE_FORMAT_CSV])
    with grpc.insecure_channel(server.address) as channel:
        export = GatekeeperServiceStub(channel).ExportInvoice
        yield lambda: export(request, timeout=TIMEOUT_S)


def is_begun(export: Any) -> bool:
    """Begin an export, if there is a place for it again."""
    try:
        return bool(next(export()).WhichOneof("content") == "invoice")
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        return False


def test_abandoned_exports_leave_no_child(server: Server) -> None:
    """Neither one that is cancelled in the middle nor many whose connection ends; the next one is whole."""
    resting = children(server)
    with exporting(server) as export:
        call = export()
        assert next(call).WhichOneof("content") == "invoice"
        assert not next(call).chunk.last
        assert len(children(server)) == len(resting) + 1
        call.cancel()
        wait_until(lambda: children(server) == resting)
    for _ in range(ROUNDS):
        with exporting(server) as export:
            wait_until(lambda: is_begun(export))
            calls = [export() for _ in range(PARTY_EXPORTS_MAX - 1)]
            assert next(calls[0]).WhichOneof("content") == "invoice"
        wait_until(lambda: children(server) == resting)
    with exporting(server) as export:
        wait_until(lambda: is_begun(export))
    with exporting(server) as export:
        chunks = [message.chunk for message in export() if message.HasField("chunk")]
    assert (chunks[-1].last, chunks[-1].entries_done) == (True, CALLS)
    assert b"".join(chunk.data for chunk in chunks).count(b"\n") == CALLS + 1
    wait_until(lambda: children(server) == resting)
