"""How do requests for invoices become questions, and invoices messages?"""

from __future__ import annotations

from decimal import Decimal

from google.type.money_pb2 import Money

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Line
from gatekeeper.invoicing.canonical import from_record
from gatekeeper.services.invoices import Invoices, Issued
from gatekeeper.storage.invoices import Listed
from gatekeeper_client.v1 import invoice_pb2
from gatekeeper_client.v1 import report_service_pb2 as pb

from .billing_profiles import CATEGORIES, write_party, write_rate
from .money import write_money
from .paging import page_size, read_instant, read_token, write_token
from .translate import read_period, write_time

KINDS = {kind: invoice_pb2.InvoiceKind.Value(f"INVOICE_KIND_{kind}") for kind in InvoiceKind}
KIND_OF = {value: kind for kind, value in KINDS.items()}
# Of more lines, a message would outgrow what clients take; all are in an invoice's files.
LINES_MAX = 1000


async def list_invoices(invoices: Invoices, request: pb.ListInvoicesRequest) -> pb.ListInvoicesResponse:
    """List an organization's invoices, newest first."""
    position = read_token(request, 2)
    after = None if position is None else (read_instant(position[0]), position[1])
    page = await invoices.page(
        request.organization,
        read_period(request.period),
        KIND_OF.get(request.kind),
        after,
        page_size(request.page_size),
    )
    return pb.ListInvoicesResponse(
        invoices=[_write_listed(listed) for listed in page.invoices],
        next_page_token=write_token(request, page.after),
        unbilled_periods=page.unbilled,
    )


def write_issued(issued: Issued, lines_max: int = LINES_MAX) -> invoice_pb2.Invoice:
    """Write an invoice with its first lines."""
    document = issued.document
    written = _write_invoice(document, issued.content_hash, issued.credit_note_number)
    written.line_count = len(document.lines)
    written.lines.extend(_write_line(line, document.currency) for line in document.lines[:lines_max])
    return written


def _write_listed(listed: Listed) -> invoice_pb2.Invoice:
    written = _write_invoice(from_record(listed.record), listed.content_hash, listed.credit_note_number)
    written.line_count = listed.line_count
    return written


def _write_invoice(document: InvoiceDocument, content_hash: bytes, credit_note_number: str) -> invoice_pb2.Invoice:
    """Write what an invoice says beside its lines."""

    def money(amount: Decimal) -> Money:
        return write_money(amount, document.currency)

    tax = document.terms.tax
    return invoice_pb2.Invoice(
        number=document.number,
        kind=KINDS[document.kind],
        organization=document.organization,
        period=document.period,
        issue_time=write_time(document.issued_at),
        issue_date=document.issue_date.isoformat(),
        due_date=document.due_date.isoformat(),
        seller=write_party(document.seller),
        buyer=write_party(document.terms.buyer),
        reference=document.terms.reference,
        ledger_amount=money(document.ledger_amount),
        net_amount=money(document.net_amount),
        tax_category=CATEGORIES[tax.category],
        tax_rate_percent=write_rate(tax.rate_percent),
        tax_amount=money(document.tax_amount),
        total_amount=money(document.total_amount),
        calls=document.calls,
        entries=document.entries,
        override_amount=money(document.override_amount),
        credited_number=document.credited_number,
        credit_note_number=credit_note_number,
        content_hash=content_hash.hex(),
        ledger_hash=document.ledger_hash,
        reason=document.reason,
    )


def _write_line(line: Line, currency: str) -> invoice_pb2.InvoiceLine:
    return invoice_pb2.InvoiceLine(
        position=line.position,
        description=line.description,
        campaign=line.campaign,
        agent_type=line.agent_type,
        period=line.period,
        late=line.late,
        calls=line.calls,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        cost=write_money(line.cost, currency),
        amount=write_money(line.amount, currency),
        rounding=line.rounding,
    )
