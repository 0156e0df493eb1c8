"""Does every invoice add up, is nothing lost, and does its text say it all?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.invoices import Billed, Heading, InvoiceKind, Span, bill, credit, issue, spans_due
from gatekeeper.invoicing import canonical

from .invoices import BILLED, DATES, HEADINGS, INSTANTS, TEXTS

ZERO = Decimal(0)
START = datetime(2026, 3, 1, tzinfo=UTC)
MONTHS = ("2026-01", "2026-02", "2026-03")


@given(HEADINGS, BILLED)
def test_lines_add_up(heading: Heading, billed: Billed) -> None:
    """To the ledger's sum, rounded once; each line is off by half a minor unit at most, and no cost is lost."""
    invoice = bill(heading, billed)
    unit = Decimal(1).scaleb(-invoice.digits)
    exact = sum((charge.cost for charge in billed.charges), ZERO)
    assert invoice.ledger_amount == exact == sum((line.cost for line in invoice.lines), ZERO)
    assert invoice.net_amount == sum((line.amount for line in invoice.lines), ZERO)
    assert abs(invoice.net_amount - exact) * 2 <= unit
    amounts = [invoice.net_amount, invoice.tax_amount, *(line.amount for line in invoice.lines)]
    assert all(amount % unit == 0 for amount in amounts)
    assert all(line.rounding or abs(line.amount - line.cost) * 2 <= unit for line in invoice.lines)
    assert sum(line.rounding for line in invoice.lines) <= 1
    exact_tax = invoice.net_amount * heading.terms.tax.rate_percent / 100
    assert abs(invoice.tax_amount - exact_tax) * 2 <= unit
    assert invoice.total_amount == invoice.net_amount + invoice.tax_amount
    assert invoice.calls == sum(charge.calls for charge in billed.charges)


@given(HEADINGS, BILLED, DATES, TEXTS)
def test_a_credit_note_and_its_invoice_are_nothing(
    heading: Heading, billed: Billed, issue_date: date, reason: str
) -> None:
    """In every amount and count, and the credit note of neither is its invoice again by chance."""
    invoice = bill(heading, billed)
    note = credit(invoice, number="n", issued_at=START, issue_date=issue_date, reason=reason)
    for name in ("ledger_amount", "net_amount", "tax_amount", "total_amount", "override_amount", "calls"):
        assert getattr(invoice, name) + getattr(note, name) == 0
    for part, sums in (("lines", ("amount", "cost", "calls")), ("days", ("cost",)), ("models", ("cost", "calls"))):
        for ours, theirs in zip(getattr(invoice, part), getattr(note, part), strict=True):
            assert all(getattr(ours, name) + getattr(theirs, name) == 0 for name in sums)
    assert (note.kind, note.credited_number, note.spans) == (InvoiceKind.CREDIT_NOTE, invoice.number, invoice.spans)


@given(HEADINGS, BILLED, INSTANTS, DATES)
def test_the_canonical_text_is_the_invoice(
    heading: Heading, billed: Billed, issued_at: datetime, issue_date: date
) -> None:
    """Read again it is equal, written again it is the same text, and what was written before fits in."""
    draft = bill(heading, billed)
    invoice = issue(draft, number="2026-000001", issued_at=issued_at, issue_date=issue_date)
    note = credit(invoice, number="2026-000002", issued_at=issued_at, issue_date=issue_date, reason="why")
    for document in (draft, invoice, note):
        text = canonical.to_text(document)
        assert canonical.from_text(text) == document
        assert canonical.to_text(canonical.from_text(text)) == text
    assert canonical.to_text(invoice, canonical.write_fields(draft)) == canonical.to_text(invoice)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.sampled_from(MONTHS)),
        st.tuples(st.just("issue"), st.sampled_from(MONTHS)),
        st.tuples(st.just("credit"), st.sampled_from(MONTHS)),
    ),
    max_size=40,
)


@given(STEPS)
def test_each_execution_is_on_one_invoice_that_stands(steps: Sequence[tuple[str, str]]) -> None:
    """Whatever was issued and taken back in which order; none of a month that has its invoice is on none for ever."""
    recorded: list[tuple[str, datetime]] = []
    standing: dict[str, Sequence[Span]] = {}
    now = START
    for step, month in [*steps, *(("issue", month) for month in MONTHS), ("issue", "2026-04")]:
        now += timedelta(seconds=1)
        if step == "record":
            recorded.append((month, now))
        elif step == "issue" and month not in standing:
            standing[month] = spans_due(month, standing, now)
        elif step == "credit":
            standing.pop(month, None)
        holders = {execution: _holders(execution, standing) for execution in recorded}
        assert all(len(months) <= 1 for months in holders.values())
        assert all(months[0] >= month for (month, _), months in holders.items() if months)
    assert all(len(_holders(execution, standing)) == 1 for execution in recorded)


def _holders(execution: tuple[str, datetime], standing: dict[str, Sequence[Span]]) -> list[str]:
    """Return the months whose invoices an execution is on."""
    month, at = execution
    return [
        of
        for of, spans in standing.items()
        for span in spans
        if span.period == month and span.recorded_from <= at < span.recorded_before
    ]
