"""How many exports may be open at a time? Few, and none of them takes a watcher's place."""

from __future__ import annotations

import grpc

from gatekeeper.rpc.invoice_exports import PARTY_EXPORTS_MAX
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import invoice_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .invoicing import JSON
from .refusals import refusal
from .wire import TIMEOUT_S, Wire


def test_one_organization_does_not_take_all_exports(wire: Wire, organization: str) -> None:
    """One more than it may have open at a time is told to come back; those before it end well, and it can watch."""
    wire.open(organization)
    export = wire.gatekeeper.ExportInvoice
    # Three files, by a child each, take longer than it takes to ask.
    formats = [JSON, invoice_pb2.INVOICE_FORMAT_CSV, invoice_pb2.INVOICE_FORMAT_FOCUS]
    request = pb.ExportInvoiceRequest(organization=organization, formats=formats)
    calls = [export(request, timeout=TIMEOUT_S) for _ in range(PARTY_EXPORTS_MAX)]
    for call in calls:
        assert next(call).HasField("invoice")
    full = refusal(lambda: list(export(request, timeout=TIMEOUT_S)))
    assert (full.code, full.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    watching = wire.reports.WatchStatus(report_pb.WatchStatusRequest(organization=organization), timeout=TIMEOUT_S)
    assert next(watching)
    watching.cancel()
    for call in calls:
        assert sum(message.chunk.last for message in call) == len(formats)
