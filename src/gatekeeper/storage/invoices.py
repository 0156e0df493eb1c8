"""How are invoices kept? Rows that are written once, under the organization's lock, with the spans that they cover."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Span, invoice_number

from .connections import Connection, first

# Invoices that stand (no credit note takes them back), by the month that each is of, with their spans. By primary keys.
STANDING = """
SELECT i.period, s.period, s.recorded_from, s.recorded_before
FROM invoices i LEFT JOIN invoice_spans s USING (organization, number)
WHERE i.organization = %s AND i.kind = 'INVOICE' AND NOT EXISTS (
    SELECT FROM invoices c
    WHERE c.organization = i.organization AND c.credited_number = i.number AND c.kind = 'CREDIT_NOTE')
"""

# Lets the ledger's time never step back behind an instant. Under the organization's lock.
KEEP_TIME = "UPDATE organizations SET billed_until = greatest(billed_until, %s) WHERE organization = %s"

# How many there are: another count, and what was read of them before is old.
COUNT = "SELECT count(*) FROM invoices WHERE organization = %s"

# An invoice with the number of its credit note, if it has one. By primary key, and the index on credited numbers.
NOTE = """
(SELECT c.number FROM invoices c
 WHERE c.organization = i.organization AND c.credited_number = i.number AND c.kind = 'CREDIT_NOTE')
"""
FIND = f"SELECT i.document, i.content_hash, {NOTE} FROM invoices i WHERE i.organization = %s AND i.number = %s"

# The invoice of a month that stands: the last one, unless it was taken back. By the index on months.
FIND_OF_MONTH = f"""
SELECT i.document, i.content_hash, {NOTE} FROM invoices i
WHERE i.organization = %s AND i.period = %s AND i.kind = 'INVOICE'
ORDER BY i.correction DESC LIMIT 1
"""

# The last month that has an invoice which stands, from one on. By the index on months.
LAST_STANDING = """
SELECT i.period FROM invoices i
WHERE i.organization = %s AND i.period >= %s AND i.kind = 'INVOICE' AND NOT EXISTS (
    SELECT FROM invoices c
    WHERE c.organization = i.organization AND c.credited_number = i.number AND c.kind = 'CREDIT_NOTE')
ORDER BY i.period DESC LIMIT 1
"""

# The next place in a year's sequence, and how many invoices of a month there were. By their indexes.
NEXT = """
SELECT (SELECT coalesce(max(sequence), 0) + 1 FROM invoices WHERE organization = %(organization)s AND year = %(year)s),
       (SELECT coalesce(max(correction) + 1, 0) FROM invoices
        WHERE organization = %(organization)s AND period = %(period)s AND kind = 'INVOICE')
"""

INSERT = """
INSERT INTO invoices (organization, number, year, sequence, kind, period, correction, credited_number, issued_at,
    entries, ledger_amount, net_amount, tax_amount, document, content_hash)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
INSERT_SPAN = """
INSERT INTO invoice_spans (organization, number, period, recorded_from, recorded_before) VALUES (%s, %s, %s, %s, %s)
"""

# A page, newest first, by the index of that order. What is long of a document stays in the database.
PAGE = f"""
SELECT i.document::jsonb - '{{lines,days,models,spans}}'::text[], jsonb_array_length(i.document::jsonb -> 'lines'),
       i.content_hash, {NOTE}
FROM invoices i
WHERE i.organization = %(organization)s
  AND (%(period)s = '' OR i.period = %(period)s) AND (%(kind)s = '' OR i.kind = %(kind)s)
  AND (%(issued_at)s::timestamptz IS NULL OR (i.issued_at, i.number) < (%(issued_at)s, %(number)s))
ORDER BY i.issued_at DESC, i.number DESC LIMIT %(limit)s
"""

# A file is what it was first: whoever renders it at the same time reads that one.
KEEP_FILE = """
INSERT INTO invoice_files (organization, number, format, content, content_hash) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
FIND_FILE = "SELECT content, content_hash FROM invoice_files WHERE organization = %s AND number = %s AND format = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An invoice as it stands in the database; `credit_note_number` is empty unless it was taken back."""

    text: str
    content_hash: bytes
    credit_note_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An invoice of a list, as a record without what is long."""

    record: Mapping[str, Any]
    line_count: int
    content_hash: bytes
    credit_note_number: str


async def standing_spans(connection: Connection, organization: str) -> Mapping[str, Sequence[Span]]:
    """Return the spans of invoices that stand, by the month that the invoice itself is of."""
    found: defaultdict[str, list[Span]] = defaultdict(list)
    cursor = await connection.execute(STANDING, (organization,))
    for month, period, recorded_from, recorded_before in await cursor.fetchall():
        spans = found[month]
        if period is not None:
            spans.append(Span(period=period, recorded_from=recorded_from, recorded_before=recorded_before))
    return dict(found)


async def keep_time(connection: Connection, organization: str, instant: datetime) -> None:
    """Let nothing be recorded before an instant any more. Under the organization's lock."""
    await connection.execute(KEEP_TIME, (instant, organization))


async def count_invoices(connection: Connection, organization: str) -> int:
    """Return how many invoices and credit notes an organization has."""
    return int(first(await (await connection.execute(COUNT, (organization,))).fetchone()))


async def find_invoice(connection: Connection, organization: str, number: str) -> Stored | None:
    """Return an invoice or credit note."""
    return _stored(await (await connection.execute(FIND, (organization, number))).fetchone())


async def find_of_month(connection: Connection, organization: str, period: str) -> Stored | None:
    """Return the invoice of a month that stands."""
    found = _stored(await (await connection.execute(FIND_OF_MONTH, (organization, period))).fetchone())
    return None if found is None or found.credit_note_number else found


async def last_standing(connection: Connection, organization: str, since: str) -> str:
    """Return the last month, from one on, that has an invoice which stands; empty when there is none."""
    row = await (await connection.execute(LAST_STANDING, (organization, since))).fetchone()
    return str(row[0]) if row else ""


def _stored(row: Sequence[Any] | None) -> Stored | None:
    if row is None:
        return None
    text, content_hash, note = row
    return Stored(text=text, content_hash=content_hash, credit_note_number=note or "")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an invoice goes: the next number of its year, and how many of its month there were before."""

    year: int
    sequence: int
    correction: int

    @property
    def number(self) -> str:
        """Its number."""
        return invoice_number(self.year, self.sequence)


async def next_place(connection: Connection, organization: str, period: str, year: int) -> Place:
    """Return the place of the next invoice. Under the organization's lock, nobody else takes it."""
    parameters = {"organization": organization, "period": period, "year": year}
    row = await (await connection.execute(NEXT, parameters)).fetchone()
    assert row is not None
    return Place(year, row[0], row[1])


async def add_invoice(
    connection: Connection, document: InvoiceDocument, place: Place, text: str, content_hash: bytes
) -> None:
    """Write an invoice with its spans, or a credit note, which has none of its own."""
    is_invoice = document.kind is InvoiceKind.INVOICE
    row = (
        document.organization,
        document.number,
        place.year,
        place.sequence,
        document.kind,
        document.period,
        place.correction if is_invoice else 0,
        document.credited_number,
        document.issued_at,
        document.entries,
        document.ledger_amount,
        document.net_amount,
        document.tax_amount,
        text,
        content_hash,
    )
    await connection.execute(INSERT, row)
    for span in document.spans if is_invoice else ():
        key = (document.organization, document.number, span.period)
        await connection.execute(INSERT_SPAN, (*key, span.recorded_from, span.recorded_before))


async def list_invoices(
    connection: Connection,
    organization: str,
    *,
    period: str,
    kind: InvoiceKind | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Listed]:
    """Return invoices and credit notes behind `after`, newest first."""
    parameters = {
        "organization": organization,
        "period": period,
        "kind": kind or "",
        "issued_at": after[0] if after else None,
        "number": after[1] if after else "",
        "limit": limit,
    }
    cursor = await connection.execute(PAGE, parameters)
    return [
        Listed(
            record={**record, "lines": (), "days": (), "models": (), "spans": ()},
            line_count=line_count,
            content_hash=content_hash,
            credit_note_number=note or "",
        )
        for record, line_count, content_hash, note in await cursor.fetchall()
    ]


async def keep_file(connection: Connection, key: tuple[str, str, str], content: bytes, content_hash: bytes) -> None:
    """Keep a file of an invoice by organization, number and format, unless there is one."""
    await connection.execute(KEEP_FILE, (*key, content, content_hash))


async def find_file(connection: Connection, key: tuple[str, str, str]) -> tuple[bytes, bytes] | None:
    """Return a file that was kept, and its hash."""
    row = await (await connection.execute(FIND_FILE, key)).fetchone()
    return (bytes(row[0]), bytes(row[1])) if row else None
