"""How do tests make and ask for invoices? Over the wire, on a server whose clock they set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import invoice_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .conftest import Clock
from .wire import TIMEOUT_S, Wire

JSON = invoice_pb2.INVOICE_FORMAT_JSON
DRAFT, INVOICE, CREDIT_NOTE = (
    invoice_pb2.INVOICE_KIND_DRAFT,
    invoice_pb2.INVOICE_KIND_INVOICE,
    invoice_pb2.INVOICE_KIND_CREDIT_NOTE,
)


class Exported(NamedTuple):
    """An invoice with its files by name."""

    invoice: invoice_pb2.Invoice
    files: dict[str, bytes]
    chunks: Sequence[invoice_pb2.FileChunk]


class Bookkeeper:
    """Somebody who bills an organization."""

    def __init__(self, wire: Wire, organization: str, clock: Clock | None = None) -> None:
        """Bill this organization; without a clock, time passes by itself."""
        self.wire = wire
        self.organization = organization
        self._clock = clock

    def export(self, period: str = "", *formats: invoice_pb2.InvoiceFormat.ValueType, **fields: Any) -> Exported:
        """Ask for an invoice."""
        request = pb.ExportInvoiceRequest(organization=self.organization, period=period, formats=formats, **fields)
        first, *rest = self.wire.gatekeeper.ExportInvoice(request, timeout=TIMEOUT_S)
        assert first.WhichOneof("content") == "invoice"
        files: dict[str, bytes] = {}
        for chunk in (message.chunk for message in rest):
            files[chunk.filename] = files.get(chunk.filename, b"") + chunk.data
        return Exported(first.invoice, files, [message.chunk for message in rest])

    def invoice(self, period: str = "", **fields: Any) -> invoice_pb2.Invoice:
        """Ask for an invoice without files."""
        return self.export(period, **fields).invoice

    def credit(self, number: str, reason: str = "wrong buyer") -> invoice_pb2.Invoice:
        """Take an invoice back."""
        request = admin_pb.CreditInvoiceRequest(organization=self.organization, number=number, reason=reason)
        return self.wire.admin.CreditInvoice(request, timeout=TIMEOUT_S).invoice

    def listed(self, **fields: Any) -> report_pb.ListInvoicesResponse:
        """Return a page of invoices."""
        request = report_pb.ListInvoicesRequest(organization=self.organization, **fields)
        return self.wire.reports.ListInvoices(request, timeout=TIMEOUT_S)

    def profile(self) -> invoice_pb2.BillingProfile:
        """Return the billing profile."""
        request = admin_pb.GetBillingProfileRequest(organization=self.organization)
        return self.wire.admin.GetBillingProfile(request, timeout=TIMEOUT_S).profile

    def set_profile(self, profile: invoice_pb2.BillingProfile, reason: str = "") -> invoice_pb2.BillingProfile:
        """Set it."""
        request = admin_pb.SetBillingProfileRequest(organization=self.organization, profile=profile, reason=reason)
        return self.wire.admin.SetBillingProfile(request, timeout=TIMEOUT_S).profile

    def spend(self, cost: str, **fields: Any) -> None:
        """Make a call of a cost, and let a second pass."""
        self.commit(self.wire.hold(self.organization, cost, **fields), cost)

    def commit(self, held: Any, cost: str) -> None:
        """Settle a call; a second later it is final."""
        self.wire.commit(held, cost)
        if self._clock is not None:
            self._clock.advance(timedelta(seconds=1))


def amounts(invoice: invoice_pb2.Invoice) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Return the ledger's amount, net, tax and total."""
    return (
        from_money(invoice.ledger_amount),
        from_money(invoice.net_amount),
        from_money(invoice.tax_amount),
        from_money(invoice.total_amount),
    )


def lines_of(invoice: invoice_pb2.Invoice) -> list[tuple[str, str, bool, Decimal]]:
    """Return campaign, month, lateness and amount of each line."""
    return [(line.campaign, line.period, line.late, from_money(line.amount)) for line in invoice.lines]
