"""What is on an invoice, and how often? Every execution, once; whatever is late, marked, on the next one."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gatekeeper.domain.access import SYSTEM
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import InvalidField, NothingToInvoice
from gatekeeper.domain.invoices import content_hash
from gatekeeper.invoicing import canonical
from gatekeeper.rpc.invoice_exports import PARTY_EXPORTS_MAX
from gatekeeper.services.organizations import Terms, open_or_change
from gatekeeper.storage.connections import open_pool
from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import invoice_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from tests.integration.test_invoice_crash import issue

from .conftest import Clock
from .invoicing import CREDIT_NOTE, DRAFT, INVOICE, JSON, Bookkeeper, amounts, lines_of
from .refusals import refusal
from .wire import TIMEOUT_S, Wire, beside, until


@pytest.fixture
def books(clock: Clock, organization: str) -> Bookkeeper:
    """Open an organization in March with a call, a hold that is still open, and calls in April; it is May."""
    wire = clock.wire
    clock.set("03-10T12:00:00+00:00")
    wire.open(organization)
    keeper = Bookkeeper(wire, organization, clock)
    keeper.spend("1.005", campaign="spring", agent_type="seo")
    keeper.spend("2.005", campaign="summer")
    clock.set("03-31T23:50:00+00:00")
    wire.hold(organization, "5", campaign="spring", ttl={"seconds": 86_400})
    clock.set("04-02T12:00:00+00:00")
    keeper.spend("3", campaign="spring")
    clock.set("05-02T12:00:00+00:00")
    return keeper


def held_in_march(books: Bookkeeper) -> Any:
    """Return the hold that nobody has settled yet."""
    request = report_pb.ListReservationsRequest(organization=books.organization, campaign="spring")
    listed = books.wire.reports.ListReservations(request, timeout=TIMEOUT_S).reservations
    return next(held for held in listed if from_money(held.amount) == 5)


def set_time_zone(wire: Wire, organization: str, zone: str) -> None:
    """Let another midnight end an organization's days, as `gatekeeper init` does."""

    async def change() -> None:
        async with open_pool(wire.database_url, name="test", size_max=1, hot=False) as pool:
            terms = Terms(time_zone=zone)
            await open_or_change(pool, organization, terms, default_budget=Decimal(1), actor=SYSTEM, key=AuditKey())

    asyncio.run(change())


def test_a_month_is_issued_once(books: Bookkeeper, clock: Clock) -> None:
    """Its lines are rounded one by one, the difference is a line, and whoever asks again gets the same invoice."""
    month = f"{clock.year}-03"
    issued = books.invoice(month)
    assert (issued.number, issued.kind, issued.period) == (f"{clock.year}-000001", INVOICE, month)
    assert lines_of(issued) == [
        ("spring", month, False, Decimal("1.01")),
        ("summer", month, False, Decimal("2.01")),
        ("", "", False, Decimal("-0.01")),
    ]
    assert amounts(issued) == (Decimal("3.01"), Decimal("3.01"), Decimal(0), Decimal("3.01"))
    assert (issued.calls, issued.entries, issued.buyer.legal_name) == (2, 2, books.organization)
    assert (issued.issue_date, issued.due_date) == (f"{clock.year}-05-02", f"{clock.year}-06-01")
    clock.advance(timedelta(days=1))
    assert books.invoice(month) == issued == books.invoice(number=issued.number) == books.invoice(month, draft=True)
    assert [listed.number for listed in books.listed().invoices] == [issued.number]


def test_the_json_says_what_the_hash_is_of(books: Bookkeeper, clock: Clock) -> None:
    """Without what is derived, its sorted keys are the canonical text; it is rendered once and kept."""
    invoice, files, chunks = books.export(f"{clock.year}-03", JSON)
    assert list(files) == [f"invoice-{invoice.number}.json"]
    assert [chunk.last for chunk in chunks] == [True]
    record = json.loads(files[f"invoice-{invoice.number}.json"])
    total, told = record.pop("total_amount"), record.pop("content_hash")
    assert (total, told) == ("3.01", invoice.content_hash)
    assert content_hash(canonical.ENCODE(record)).hex() == told
    assert books.export("", JSON, number=invoice.number).files == files
    assert books.wire.sql("SELECT count(*) FROM invoice_files WHERE organization = %s", books.organization) == [(1,)]


def test_a_late_commit_goes_on_the_next_invoice(books: Bookkeeper, clock: Clock) -> None:
    """Marked with its own month, and on that one alone."""
    assert len(books.invoice(f"{clock.year}-03").lines) == 3
    books.commit(held_in_march(books), "4")
    april = books.invoice(f"{clock.year}-04")
    assert lines_of(april) == [
        ("spring", f"{clock.year}-04", False, Decimal(3)),
        ("spring", f"{clock.year}-03", True, Decimal(4)),
    ]
    clock.advance(timedelta(days=31))
    assert lines_of(books.invoice(f"{clock.year}-05")) == []
    assert amounts(books.invoice(f"{clock.year}-05"))[3] == 0


def test_a_clock_that_steps_back_hides_nothing_from_invoices(books: Bookkeeper, clock: Clock) -> None:
    """What is recorded after an invoice was issued is on the next one, however early the machine takes it to be."""
    books.invoice(f"{clock.year}-03")
    clock.set("04-02T12:00:00+00:00")
    books.commit(held_in_march(books), "4")
    clock.set("05-03T12:00:00+00:00")
    assert lines_of(books.invoice(f"{clock.year}-04"))[1:] == [("spring", f"{clock.year}-03", True, Decimal(4))]


def test_the_current_month_is_a_draft(books: Bookkeeper, clock: Clock) -> None:
    """It has no number, is not kept, and tells what is late already; a month to come is refused."""
    books.invoice(f"{clock.year}-03")
    books.commit(held_in_march(books), "4")
    books.spend("0.5")
    draft, files, _ = books.export("", JSON)
    assert (draft.number, draft.kind, draft.period) == ("", DRAFT, f"{clock.year}-05")
    assert list(files) == [f"draft-{clock.year}-05.json"]
    assert amounts(draft)[3] == Decimal("4.5")
    assert books.invoice(f"{clock.year}-04", draft=True).kind == DRAFT
    assert len(books.listed().invoices) == 1
    refused = refusal(books.invoice, f"{clock.year}-06")
    assert (refused.reason, refused.metadata) == (
        "PERIOD_NOT_OVER",
        {"period": f"{clock.year}-06", "current": f"{clock.year}-05"},
    )


def test_a_credit_note_takes_an_invoice_back(books: Bookkeeper, clock: Clock) -> None:
    """Whole, once, under the next number; then the month is issued anew, with what was late as well."""
    march = books.invoice(f"{clock.year}-03")
    note = books.credit(march.number)
    assert (note.number, note.kind, note.credited_number) == (f"{clock.year}-000002", CREDIT_NOTE, march.number)
    assert amounts(note) == tuple(-amount for amount in amounts(march))
    assert (note.reason, list(note.lines), note.line_count) == ("wrong buyer", [], 3)
    assert books.credit(march.number, "again") == note
    assert refusal(books.credit, note.number).reason == "INVOICE_NOT_CREDITABLE"
    assert refusal(books.credit, "2000-000001").reason == "INVOICE_NOT_FOUND"
    assert "reason" in refusal(books.credit, march.number, " ").violations
    books.commit(held_in_march(books), "4")
    anew = books.invoice(f"{clock.year}-03")
    assert (anew.number, amounts(anew)[1]) == (f"{clock.year}-000003", Decimal("7.01"))
    assert books.invoice(number=march.number).credit_note_number == note.number
    assert [listed.number[-1] for listed in books.listed().invoices] == ["3", "2", "1"]
    assert [listed.number for listed in books.listed(kind=CREDIT_NOTE).invoices] == [note.number]
    events = books.wire.sql(
        "SELECT action, subject, reason FROM audit_events WHERE organization = %s AND action LIKE 'INVOICE%%'"
        " ORDER BY event_id",
        books.organization,
    )
    assert events == [
        ("INVOICE_ISSUED", f"invoice '{march.number}'", ""),
        ("INVOICE_CREDITED", f"invoice '{march.number}'", "wrong buyer"),
        ("INVOICE_ISSUED", f"invoice '{anew.number}'", ""),
    ]


def test_numbers_have_no_gap_however_many_ask_at_once(books: Bookkeeper, clock: Clock) -> None:
    """Sixteen calls for four months make four invoices, numbered from 1 on."""
    months = [f"{clock.year}-{month:02}" for month in (1, 2, 3, 4)]
    with beside(PARTY_EXPORTS_MAX) as pool:
        found = list(pool.map(books.invoice, months * 4))
    assert len({invoice.SerializeToString() for invoice in found}) == 4
    assert sorted({invoice.number for invoice in found}) == [f"{clock.year}-00000{place}" for place in (1, 2, 3, 4)]


def test_two_processes_make_one_number(wire: Wire, second_wire: Wire, organization: str) -> None:
    """Eight calls each for four months make four invoices, whoever answers."""
    wire.open(organization)
    months = [f"2020-{month:02}" for month in (1, 2, 3, 4)]
    with beside(PARTY_EXPORTS_MAX) as pool:
        keepers = [Bookkeeper(each, organization) for each in (wire, second_wire)]
        found = list(pool.map(Bookkeeper.invoice, keepers * 8, sorted(months * 4)))
    assert len({invoice.SerializeToString() for invoice in found}) == 4
    numbers = sorted(invoice.number for invoice in keepers[0].listed().invoices)
    assert [number[4:] for number in numbers] == ["-000001", "-000002", "-000003", "-000004"]


def test_a_year_has_its_own_numbers(books: Bookkeeper, clock: Clock) -> None:
    """By the day of issue in the organization's calendar."""
    assert books.invoice(f"{clock.year}-03").number == f"{clock.year}-000001"
    year = clock.year
    clock.set("12-31T23:59:59+00:00")
    books.wire.sql("UPDATE organizations SET time_zone = 'Asia/Tokyo' WHERE organization = %s", books.organization)
    assert books.invoice(f"{year}-04").number == f"{year + 1}-000001"
    clock.year += 1


def test_the_calendar_is_not_turned_back_into_an_invoiced_month(clock: Clock, organization: str) -> None:
    """It is refused until the invoice is taken back; where it was done behind our back, the invoice is shown."""
    november = f"{clock.year}-11"
    clock.set("11-10T12:00:00+00:00")
    clock.wire.open(organization, time_zone="Pacific/Kiritimati")
    books = Bookkeeper(clock.wire, organization, clock)
    books.spend("1")
    clock.set("11-30T12:00:00+00:00")
    issued = books.invoice(november)
    with pytest.raises(InvalidField, match=f"turn the calendar back into {november}, which has an invoice"):
        set_time_zone(clock.wire, organization, "UTC")
    zone = "UPDATE organizations SET time_zone = %s WHERE organization = %s"
    clock.wire.sql(zone, "UTC", organization)
    assert books.invoice() == books.invoice(november, draft=True) == books.invoice(november) == issued
    clock.wire.sql(zone, "Pacific/Kiritimati", organization)
    books.credit(issued.number)
    set_time_zone(clock.wire, organization, "UTC")
    assert (books.invoice().kind, amounts(books.invoice())[3]) == (DRAFT, 1)


def test_what_cannot_be_asked_for(books: Bookkeeper, clock: Clock) -> None:
    """Unknown numbers and organizations, and a number with another month, are refused with what is wrong."""
    issued = books.invoice(f"{clock.year}-03")
    assert refusal(books.invoice, number="2000-000009").reason == "INVOICE_NOT_FOUND"
    wrong = refusal(books.invoice, f"{clock.year}-04", number=issued.number)
    assert "is not the month of" in wrong.violations["period"]
    assert books.invoice(f"{clock.year}-03", number=issued.number) == issued
    nobody = Bookkeeper(clock.wire, f"{books.organization}-nobody")
    for ask in (nobody.invoice, nobody.listed, nobody.profile):
        assert refusal(ask).reason == "ORGANIZATION_NOT_FOUND"
    assert refusal(nobody.invoice, number="1").reason == "ORGANIZATION_NOT_FOUND"
    assert "period" in refusal(books.invoice, "0000-01").violations
    assert "1970-01" in refusal(books.invoice, "1969-12").violations["period"]
    assert amounts(books.invoice("1970-01"))[3] == 0


def test_pages_of_invoices_are_the_whole(books: Bookkeeper, clock: Clock) -> None:
    """Newest first, each once; those of one month if it is named."""
    for month in (1, 2, 3, 4):
        books.invoice(f"{clock.year}-{month:02}")
    whole = [invoice.number for invoice in books.listed().invoices]
    assert whole == sorted(whole, reverse=True)
    token, paged = "", []
    while True:
        page = books.listed(page_size=3, page_token=token)
        paged += [invoice.number for invoice in page.invoices]
        if not (token := page.next_page_token):
            break
    assert paged == whole
    (march,) = books.listed(period=f"{clock.year}-03").invoices
    asked = books.invoice(number=march.number)
    assert (list(march.lines), march.line_count) == ([], 3)
    del asked.lines[:]
    assert march == asked


def test_months_that_were_not_billed_are_told(books: Bookkeeper, clock: Clock) -> None:
    """Those that are over and have executions, from the first late one on, until an invoice of theirs stands."""
    february, march, april = (f"{clock.year}-0{month}" for month in (2, 3, 4))
    books.spend("1", campaign="current")
    assert books.listed().unbilled_periods == [march, april]
    issued = [books.invoice(month) for month in (february, march, april)]
    assert books.listed().unbilled_periods == []
    books.commit(held_in_march(books), "4")
    assert books.listed().unbilled_periods == []
    books.credit(issued[1].number)
    first = books.listed(page_size=1)
    assert first.unbilled_periods == [march]
    assert books.listed(page_size=1, page_token=first.next_page_token).unbilled_periods == []
    assert amounts(books.invoice(march))[0] == Decimal("7.01")
    assert books.listed(kind=CREDIT_NOTE).unbilled_periods == []


def test_a_late_call_of_a_month_that_was_refused_as_empty(clock: Clock, organization: str) -> None:
    """It makes the month one that was not billed, at once and when it is rolled up; it can be issued then."""
    march = f"{clock.year}-03"
    clock.set("03-31T23:50:00+00:00")
    clock.wire.open(organization)
    books = Bookkeeper(clock.wire, organization, clock)
    held = clock.wire.hold(organization, "5", ttl={"seconds": 3600})
    clock.set("04-01T00:05:00+00:00")
    with pytest.raises(NothingToInvoice):
        asyncio.run(issue(clock.wire.database_url, organization, march, empty_months=False))
    assert books.listed().unbilled_periods == []
    books.commit(held, "5")
    assert books.listed().unbilled_periods == [march]
    books.spend("1")
    until(lambda: bool(clock.wire.sql("SELECT 1 FROM spend_rollups WHERE organization = %s", organization)))
    assert books.listed().unbilled_periods == [march]
    assert amounts(books.invoice(march))[0] == 5
    assert books.listed().unbilled_periods == []


def test_a_billing_profile_is_on_invoices_to_come(books: Bookkeeper, clock: Clock) -> None:
    """With its tax; those that were issued stay as they are."""
    before = books.invoice(f"{clock.year}-03")
    buyer = invoice_pb2.InvoiceParty(legal_name="Acme GmbH", city="Berlin", country="DE", vat_id="DE123456789")
    unset = books.profile()
    assert (unset.buyer.legal_name, unset.payment_days, unset.etag) == (books.organization, 30, "0")
    asked = invoice_pb2.BillingProfile(
        buyer=buyer,
        tax_rate_percent="19",
        tax_category=invoice_pb2.TAX_CATEGORY_STANDARD,
        payment_days=14,
        reference="PO 7",
        etag=unset.etag,
    )
    profile = books.set_profile(asked, "first customer")
    assert (profile.etag, profile.tax_rate_percent, profile.buyer) == ("1", "19", buyer)
    assert books.profile() == profile
    assert refusal(books.set_profile, asked).reason == "ETAG_MISMATCH"
    april = books.invoice(f"{clock.year}-04")
    assert (april.buyer, april.reference, april.due_date) == (buyer, "PO 7", f"{clock.year}-05-16")
    assert amounts(april)[1:] == (Decimal(3), Decimal("0.57"), Decimal("3.57"))
    assert books.invoice(f"{clock.year}-03") == before
    ((reason, before_set, after_set),) = books.wire.sql(
        "SELECT reason, before, after FROM audit_events WHERE organization = %s AND action = 'BILLING_PROFILE_SET'",
        books.organization,
    )
    assert (reason, before_set, json.loads(after_set)["vat_id"]) == ("first customer", None, "DE123456789")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tax_rate_percent": "19"}, "profile.tax_rate_percent"),
        ({"tax_category": invoice_pb2.TAX_CATEGORY_STANDARD}, "profile.tax_rate_percent"),
        ({"tax_category": invoice_pb2.TAX_CATEGORY_EXEMPT}, "profile.tax_note"),
        ({"tax_category": invoice_pb2.TAX_CATEGORY_REVERSE_CHARGE, "tax_note": " "}, "profile.tax_note"),
        ({"payment_days": 366}, "profile.payment_days"),
        ({"buyer": invoice_pb2.InvoiceParty(country="Germany")}, "profile.buyer.country"),
    ],
)
def test_a_profile_that_no_invoice_could_have(books: Bookkeeper, fields: dict[str, object], field: str) -> None:
    """It is refused, the field is named, and nothing changes."""
    profile = invoice_pb2.BillingProfile(**fields)  # type: ignore[arg-type]
    assert list(refusal(books.set_profile, profile).violations) == [field]
    assert books.profile().etag == "0"
