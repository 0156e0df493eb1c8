"""How does verification read invoices? All of them, some at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from .connections import Connection
from .invoice_checks import DOCUMENTS

# Documents that are in memory at a time: each may have some thousand lines.
ROWS_TOGETHER = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRow:
    """An invoice's row, with the spans that belong to it as (period, from, before), in order."""

    organization: str
    number: str
    kind: str
    period: str
    credited_number: str
    issued_at: datetime
    entries: int
    ledger_amount: Decimal
    net_amount: Decimal
    tax_amount: Decimal
    text: str
    content_hash: bytes
    spans: Sequence[tuple[str, datetime, datetime]]


async def read_rows(connection: Connection, organization: str | None) -> AsyncIterator[InvoiceRow]:
    """Yield the invoices of an organization, or of all."""
    names = InvoiceRow.__dataclass_fields__
    async with connection.cursor(name="invoices") as cursor:
        cursor.itersize = ROWS_TOGETHER
        await cursor.execute(DOCUMENTS, {"organization": organization})
        async for *row, periods, begins, ends in cursor:
            spans = tuple(zip(periods or (), begins or (), ends or (), strict=True))
            yield InvoiceRow(**dict(zip(names, (*row, spans), strict=True)))
