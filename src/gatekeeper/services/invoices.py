"""How is a month's invoice issued, once and without a gap, while calls go on? And how is it taken back?

The organization's lock is held twice, for a moment: to read the ledger's time, and to give the number and write. What
lies between, adding the executions up, waits for nobody and nobody for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib.util import find_spec
from zoneinfo import ZoneInfo

from gatekeeper.domain import errors, invoice_events
from gatekeeper.domain import invoices as rules
from gatekeeper.domain.access import Actor
from gatekeeper.domain.audit import AuditEvent, AuditKey
from gatekeeper.domain.invoice_formats import ELECTRONIC, InvoiceFormat
from gatekeeper.domain.invoices import Branding, Heading, InvoiceDocument, InvoiceKind, Party
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import periods_at
from gatekeeper.invoicing import canonical, en16931
from gatekeeper.storage import audit, billing_profiles, budgets, months
from gatekeeper.storage import invoices as storage
from gatekeeper.storage.connections import Connection, Pool, wrap_errors
from gatekeeper.storage.invoice_sums import read_billed, snapshot
from gatekeeper.storage.unbilled import unbilled_months

# Months that are added up at a time in this process: each takes a connection, and a processor of the database.
SNAPSHOTS_MAX = 2
# Somebody else issues or takes back meanwhile, and it is begun anew: so many times in a row nobody does.
ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """Who bills, and how invoices look."""

    seller: Party
    branding: Branding


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An invoice as it is kept, or as a draft of it would be."""

    document: InvoiceDocument
    text: str
    content_hash: bytes
    credit_note_number: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePage:
    """Invoices, and the keyset position behind the last of them (None: there are no more).

    The first page tells the months that are over and were not billed, too.
    """

    invoices: Sequence[storage.Listed]
    after: tuple[datetime, str] | None
    unbilled: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """An invoice but for its number and dates, with how many there were when it was made."""

    document: InvoiceDocument
    written: dict[str, str]
    count: int


class Invoices:
    """Issues, finds and takes back. Reads and writes by pools of others; adds up on connections of its own."""

    def __init__(
        self,
        *,
        reads: Pool,
        writes: Pool,
        database_url: str,
        letterhead: Letterhead,
        audit_key: AuditKey,
        empty_months: bool,
    ) -> None:
        """Bill by `letterhead`; months without executions only if `empty_months`."""
        self._reads = reads
        self._writes = writes
        self._database_url = database_url
        self._letterhead = letterhead
        self._audit_key = audit_key
        self._empty_months = empty_months
        self._snapshots = asyncio.Semaphore(SNAPSHOTS_MAX)

    async def of_month(
        self,
        organization: str,
        period: str,
        actor: Actor,
        *,
        draft: bool = False,
        formats: Collection[InvoiceFormat] = (),
    ) -> Issued:
        """Return the invoice of a month, the current one for an empty `period`; issue it if that was not done.

        The current month is a draft, and every month that was not issued if `draft`. None is issued that could not be
        rendered as one of `formats`. Raises `OrganizationNotFound`, `PeriodNotOver`, `NothingToInvoice`,
        `BillingIncomplete` or `FormatUnavailable`.
        """
        with wrap_errors():
            for _ in range(ATTEMPTS_MAX):
                recorded_before, found = await self._ledger_time(organization)
                current = periods_at(recorded_before, ZoneInfo(found.time_zone)).month
                month = period or current
                if month > current:
                    raise errors.PeriodNotOver(period=month, current=current)
                is_draft = draft or month == current
                # One of the current month is from before the time zone was changed: nothing changes what was issued.
                if standing := await self._standing(organization, month):
                    return standing
                if not is_draft:
                    recorded_before = await self._final_time(organization)
                prepared = await self._prepare(found, month, recorded_before)
                if prepared is None:
                    continue
                if is_draft:
                    return await asyncio.to_thread(_kept, prepared.document, prepared.written)
                # An invoice stands for ever: what cannot come of it is told before.
                _require_renderable(prepared.document, formats)
                if issued := await self._issue(prepared, actor):
                    return issued
        raise errors.QueueFull

    async def find(self, organization: str, number: str) -> Issued:
        """Return what was issued under a number. Raises `OrganizationNotFound` or `InvoiceNotFound`."""
        with wrap_errors():
            async with self._reads.connection() as connection:
                stored = await storage.find_invoice(connection, organization, number)
                if stored is None and await budgets.find_organization(connection, organization) is None:
                    raise errors.OrganizationNotFound(organization=organization)
        if stored is None:
            raise errors.InvoiceNotFound(number=number)
        return await asyncio.to_thread(_read, stored, number)

    async def page(
        self, organization: str, period: str, kind: InvoiceKind | None, after: tuple[datetime, str] | None, size: int
    ) -> InvoicePage:
        """Return a page, newest first. Raises `OrganizationNotFound`."""
        with wrap_errors():
            async with months.snapshot(self._reads) as connection:
                known = await budgets.find_organization(connection, organization)
                if known is None:
                    raise errors.OrganizationNotFound(organization=organization)
                found = await storage.list_invoices(
                    connection, organization, period=period, kind=kind, after=after, limit=size + 1
                )
                unbilled = [] if after else await _unbilled(connection, *known)
        page = found[:size]
        last = canonical.from_record(page[-1].record) if len(found) > size else None
        return InvoicePage(invoices=page, after=(last.issued_at, last.number) if last else None, unbilled=unbilled)

    async def credit(self, organization: str, number: str, reason: str, actor: Actor) -> Issued:
        """Take an invoice back by a credit note; return that one if it was taken back before.

        Raises `OrganizationNotFound`, `InvoiceNotFound`, `InvoiceNotCreditable` or `InvalidField`.
        """
        if not reason.strip():
            raise errors.InvalidField(field="reason", problem="must say why; it stands on the credit note")
        invoice = await self.find(organization, number)
        if invoice.document.kind is InvoiceKind.CREDIT_NOTE:
            raise errors.InvoiceNotCreditable(number=number, problem="it is a credit note itself")
        with wrap_errors():
            async with self._writes.connection() as connection, connection.transaction():
                now, found = await _lock(connection, organization)
                stored = await storage.find_invoice(connection, organization, number)
                assert stored is not None
                if not stored.credit_note_number:
                    issue_date = _date(now, found)
                    return await self._take_back(
                        connection, invoice.document, actor, now=now, issue_date=issue_date, reason=reason
                    )
        return await self.find(organization, stored.credit_note_number)

    async def _ledger_time(self, organization: str) -> tuple[datetime, Organization]:
        """Return the ledger's time, before which nothing is being recorded: it was read under the lock."""
        async with self._writes.connection() as connection, connection.transaction():
            return await _lock(connection, organization)

    async def _final_time(self, organization: str) -> datetime:
        """Return the ledger's time, and see to it that nothing will be recorded before it, whatever the clock does."""
        async with self._writes.connection() as connection, connection.transaction():
            now, _ = await _lock(connection, organization)
            await storage.keep_time(connection, organization, now)
        return now

    async def _standing(self, organization: str, month: str) -> Issued | None:
        async with self._reads.connection() as connection:
            stored = await storage.find_of_month(connection, organization, month)
        return None if stored is None else await asyncio.to_thread(_read, stored, month)

    async def _prepare(self, organization: Organization, month: str, recorded_before: datetime) -> _Prepared | None:
        """Add up what an invoice of a month takes of what was recorded before an instant.

        None where the month's invoice was issued since it was looked for.
        """
        name = organization.organization
        async with self._snapshots, snapshot(self._database_url) as connection:
            count = await storage.count_invoices(connection, name)
            standing = await storage.standing_spans(connection, name)
            if month in standing:
                return None
            profile = await billing_profiles.find_profile(connection, name)
            spans = rules.spans_due(month, standing, recorded_before)
            billed = await read_billed(connection, name, month, spans)
        if not billed.entries and not self._empty_months:
            raise errors.NothingToInvoice(organization=name, period=month)
        heading = Heading(
            number="",
            kind=InvoiceKind.DRAFT,
            organization=name,
            period=month,
            issued_at=recorded_before,
            issue_date=_date(recorded_before, organization),
            currency=organization.currency,
            seller=self._letterhead.seller,
            terms=profile.terms,
            branding=self._letterhead.branding,
            time_zone=organization.time_zone,
        )
        document = await asyncio.to_thread(rules.bill, heading, billed)
        written = await asyncio.to_thread(canonical.write_fields, document)
        return _Prepared(document=document, written=written, count=count)

    async def _issue(self, prepared: _Prepared, actor: Actor) -> Issued | None:
        """Give an invoice its number, and write it.

        None where others were issued since it was prepared, or the calendar was turned back into its month.
        """
        name = prepared.document.organization
        async with self._writes.connection() as connection, connection.transaction():
            now, organization = await _lock(connection, name)
            is_over = prepared.document.period < periods_at(now, ZoneInfo(organization.time_zone)).month
            if not is_over or await storage.count_invoices(connection, name) != prepared.count:
                return None
            issue_date = _date(now, organization)
            place = await storage.next_place(connection, name, prepared.document.period, issue_date.year)
            document = rules.issue(prepared.document, number=place.number, issued_at=now, issue_date=issue_date)
            issued = _kept(document, prepared.written)
            event = invoice_events.issued(document, issued.content_hash, actor)
            await self._write(connection, issued, place, event)
        return issued

    async def _take_back(
        self,
        connection: Connection,
        invoice: InvoiceDocument,
        actor: Actor,
        *,
        now: datetime,
        issue_date: date,
        reason: str,
    ) -> Issued:
        place = await storage.next_place(connection, invoice.organization, invoice.period, issue_date.year)
        note = rules.credit(invoice, number=place.number, issued_at=now, issue_date=issue_date, reason=reason)
        issued = _kept(note)
        await self._write(connection, issued, place, invoice_events.credited(invoice, note, issued.content_hash, actor))
        return issued

    async def _write(self, connection: Connection, issued: Issued, place: storage.Place, event: AuditEvent) -> None:
        await storage.add_invoice(connection, issued.document, place, issued.text, issued.content_hash)
        await audit.write_event(connection, issued.document.organization, event, self._audit_key)


def _require_renderable(document: InvoiceDocument, formats: Collection[InvoiceFormat]) -> None:
    """Raise `FormatUnavailable` or `BillingIncomplete` for what an invoice could not be rendered as."""
    if electronic := sorted(ELECTRONIC.intersection(formats)):
        if find_spec("facturx") is None:
            raise errors.FormatUnavailable(format=electronic[0], extra="einvoice")
        en16931.require_complete(document)


async def _lock(connection: Connection, organization: str) -> tuple[datetime, Organization]:
    found = await budgets.lock_organization(connection, organization)
    if found is None:
        raise errors.OrganizationNotFound(organization=organization)
    return found


async def _unbilled(connection: Connection, now: datetime, organization: Organization) -> list[str]:
    current = periods_at(now, ZoneInfo(organization.time_zone)).month
    return await unbilled_months(connection, organization.organization, current)


def _date(instant: datetime, organization: Organization) -> date:
    return instant.astimezone(ZoneInfo(organization.time_zone)).date()


def _kept(document: InvoiceDocument, written: dict[str, str] | None = None) -> Issued:
    text = canonical.to_text(document, written)
    return Issued(document=document, text=text, content_hash=rules.content_hash(text))


def _read(stored: storage.Stored, name: str) -> Issued:
    """Read an invoice; whatever was changed behind our back is not to be shown as issued."""
    if rules.content_hash(stored.text) != stored.content_hash:
        message = f"the invoice {name} is not what was issued: its text does not fit its hash"
        raise RuntimeError(message)
    return Issued(
        document=canonical.from_text(stored.text),
        text=stored.text,
        content_hash=stored.content_hash,
        credit_note_number=stored.credit_note_number,
    )
