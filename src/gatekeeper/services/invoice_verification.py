"""Is each invoice what was issued, and does what it says add up?"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, content_hash, rounded
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.verification import Difference
from gatekeeper.invoicing import canonical
from gatekeeper.storage.connections import Connection
from gatekeeper.storage.invoice_rows import InvoiceRow, read_rows

CHECK = "documents of invoices"


async def verify_documents(connection: Connection, organization: str | None, most: int) -> list[Difference]:
    """Return what is wrong with invoices, one difference each, at most `most` and one more."""
    found: list[Difference] = []
    async for row in read_rows(connection, organization):
        difference = next(_differences(row), None)
        if difference is not None:
            found.append(difference)
        if len(found) > most:
            break
    return found


def _differences(row: InvoiceRow) -> Iterator[Difference]:
    """Yield what is wrong with an invoice, what it comes from first."""

    def wrong(what: str, expected: Decimal | None = None, found: Decimal | None = None) -> Difference:
        told = f"{what} of invoice {row.number!r}"
        return Difference(what=told, organization=row.organization, expected=expected, found=found)

    if content_hash(row.text) != row.content_hash:
        yield wrong("hash and document differ, those")
    try:
        document = canonical.from_text(row.text)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
        yield wrong("a document that cannot be read, that")
        return
    if canonical.to_text(document) != row.text:
        yield wrong("a document that is not canonical, that")
    if not _is_row(document, row):
        yield wrong("document and row differ, those")
    for name, expected, found in _sums(document):
        if expected != found:
            yield wrong(name, expected, found)


def _is_row(document: InvoiceDocument, row: InvoiceRow) -> bool:
    """Tell whether a document says what its row says."""
    own = sorted((span.period, span.recorded_from, span.recorded_before) for span in document.spans)
    return (
        document.organization,
        document.number,
        document.kind,
        document.period,
        document.credited_number,
        document.issued_at,
        document.entries,
        document.ledger_amount,
        document.net_amount,
        document.tax_amount,
        own if document.kind is InvoiceKind.INVOICE else [],
    ) == (
        row.organization,
        row.number,
        row.kind,
        row.period,
        row.credited_number,
        row.issued_at,
        row.entries,
        row.ledger_amount,
        row.net_amount,
        row.tax_amount,
        list(row.spans),
    )


def _sums(document: InvoiceDocument) -> Iterator[tuple[str, Decimal, Decimal]]:
    """Yield what must be equal in a document: its name, what it should be, and what it is."""
    ledger, net = document.ledger_amount, document.net_amount
    lines = document.lines
    yield "net amount and rounded cost", rounded(ledger, document.digits), net
    yield "sum of lines", net, sum((line.amount for line in lines), ZERO)
    yield "cost of lines", ledger, sum((line.cost for line in lines), ZERO)
    yield "cost of days", ledger, sum((day.cost for day in document.days), ZERO)
    yield "cost of models", ledger, sum((model.cost for model in document.models), ZERO)
    yield "calls of lines", Decimal(document.calls), Decimal(sum(line.calls for line in lines))
    tax = rounded(net * document.terms.tax.rate_percent / 100, document.digits)
    yield "tax", tax, document.tax_amount
