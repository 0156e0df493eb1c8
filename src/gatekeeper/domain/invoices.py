"""What does an invoice say, and which executions are on it?

Its lines are rounded once, each by itself, to the currency's minor unit. What that makes of the sum is a line of its
own, so that the lines add up to the ledger's sum, rounded once as well.

Each execution is on one invoice that stands. An invoice of a month takes all of the month that no other one has, and
of earlier months that have their invoice what was recorded since: late, and marked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from .money import EXACT, ZERO

# The currencies of ISO 4217 whose amounts have not two digits behind the point.
DIGITS: Mapping[str, int] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
DIGITS_DEFAULT = 2
# Before anything was recorded.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
ROUNDING = "Rounding difference"


class InvoiceKind(StrEnum):
    """What a document is."""

    DRAFT = "DRAFT"
    INVOICE = "INVOICE"
    CREDIT_NOTE = "CREDIT_NOTE"


class TaxCategory(StrEnum):
    """How tax is charged, by the categories of EN 16931 (UNTDID 5305)."""

    STANDARD = "STANDARD"
    ZERO = "ZERO"
    EXEMPT = "EXEMPT"
    REVERSE_CHARGE = "REVERSE_CHARGE"
    NOT_SUBJECT = "NOT_SUBJECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One side of an invoice. `country` by ISO 3166-1; `address` may have several lines."""

    legal_name: str = ""
    address: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = ""
    vat_id: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branding:
    """How invoices look: the accent as #rrggbb, a logo (PNG, base64) or none, and what stands at the foot of a page."""

    accent: str = "#0f766e"
    logo_base64: str = ""
    footer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """How the net amount is taxed."""

    category: TaxCategory = TaxCategory.NOT_SUBJECT
    rate_percent: Decimal = ZERO
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an organization's invoices say: the buyer, its reference, tax, and the days until they are due."""

    buyer: Party
    reference: str = ""
    tax: Tax = Tax()
    payment_days: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Executions of a month that were recorded from one instant on, and before another."""

    period: str
    recorded_from: datetime = BEGINNING
    recorded_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Executions on an invoice, added up by what makes a line. `cost` is exact."""

    period: str
    late: bool
    campaign: str
    agent_type: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of an invoice: `cost` is exact, `amount` in whole minor units. The rounding difference has no cost."""

    position: int
    description: str
    amount: Decimal
    period: str = ""
    late: bool = False
    campaign: str = ""
    agent_type: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = ZERO
    rounding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTotal:
    """What the executions of a day cost, to the nano."""

    day: str
    calls: int
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTotal:
    """What a model's executions cost, to the nano."""

    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideTotal:
    """What an override paid for, of the cost, and in whose words."""

    override_id: str
    reason: str
    granted_by: str
    calls: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed:
    """What is on an invoice: executions added up in each of the ways that it shows, and what stands for their rows."""

    spans: Sequence[Span]
    charges: Sequence[Charge]
    days: Sequence[DayTotal]
    models: Sequence[ModelTotal]
    overrides: Sequence[OverrideTotal]
    entries: int
    ledger_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceDocument:
    """All that an invoice says; whatever it is rendered as says the same.

    Amounts are in whole minor units of `currency` (`digits` behind the point), but for `ledger_amount`, the costs and
    `override_amount`, which are exact.
    """

    number: str
    kind: InvoiceKind
    organization: str
    period: str
    issued_at: datetime
    issue_date: date
    due_date: date
    currency: str
    digits: int
    seller: Party
    terms: Terms
    branding: Branding
    lines: Sequence[Line]
    days: Sequence[DayTotal]
    models: Sequence[ModelTotal]
    overrides: Sequence[OverrideTotal]
    spans: Sequence[Span]
    calls: int
    entries: int
    ledger_amount: Decimal
    net_amount: Decimal
    tax_amount: Decimal
    ledger_hash: str
    credited_number: str = ""
    reason: str = ""
    # The calendar that its days are of.
    time_zone: str = "UTC"

    @property
    def total_amount(self) -> Decimal:
        """What is to be paid."""
        return self.net_amount + self.tax_amount

    @property
    def override_amount(self) -> Decimal:
        """What overrides paid for, of the cost."""
        return sum((override.amount for override in self.overrides), ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What an invoice says beside what is on it."""

    number: str
    kind: InvoiceKind
    organization: str
    period: str
    issued_at: datetime
    issue_date: date
    currency: str
    seller: Party
    terms: Terms
    branding: Branding
    time_zone: str = "UTC"


def minor_digits(currency: str) -> int:
    """Return how many digits behind the point a currency's amounts have."""
    return DIGITS.get(currency, DIGITS_DEFAULT)


def rounded(amount: Decimal, digits: int) -> Decimal:
    """Round an amount to whole minor units; halves away from zero, as accountants do. There is no -0."""
    whole = amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP, context=EXACT)
    return whole or abs(whole)


def invoice_number(year: int, sequence: int) -> str:
    """Return the number of a year's invoice, from 1 on: it sorts as text."""
    return f"{year}-{sequence:06d}"


def bill(heading: Heading, billed: Billed) -> InvoiceDocument:
    """Return the invoice over what is billed: lines rounded one by one, the rounding difference, and the tax."""
    digits = minor_digits(heading.currency)
    exact = sum((charge.cost for charge in billed.charges), ZERO)
    net = rounded(exact, digits)
    tax = heading.terms.tax
    return InvoiceDocument(
        number=heading.number,
        kind=heading.kind,
        organization=heading.organization,
        period=heading.period,
        issued_at=heading.issued_at,
        issue_date=heading.issue_date,
        due_date=heading.issue_date + timedelta(days=heading.terms.payment_days),
        currency=heading.currency,
        digits=digits,
        seller=heading.seller,
        terms=heading.terms,
        branding=heading.branding,
        lines=_lines(billed.charges, net, digits),
        days=billed.days,
        models=billed.models,
        overrides=billed.overrides,
        spans=billed.spans,
        calls=sum(charge.calls for charge in billed.charges),
        entries=billed.entries,
        ledger_amount=exact,
        net_amount=net,
        tax_amount=rounded(net * tax.rate_percent / 100, digits),
        ledger_hash=billed.ledger_hash,
        time_zone=heading.time_zone,
    )


def issue(draft: InvoiceDocument, *, number: str, issued_at: datetime, issue_date: date) -> InvoiceDocument:
    """Return the invoice that a draft becomes under a number."""
    return replace(
        draft,
        number=number,
        kind=InvoiceKind.INVOICE,
        issued_at=issued_at,
        issue_date=issue_date,
        due_date=issue_date + timedelta(days=draft.terms.payment_days),
    )


def _lines(charges: Sequence[Charge], net: Decimal, digits: int) -> Sequence[Line]:
    lines = [
        Line(
            position=position,
            description=describe(charge),
            amount=rounded(charge.cost, digits),
            period=charge.period,
            late=charge.late,
            campaign=charge.campaign,
            agent_type=charge.agent_type,
            calls=charge.calls,
            input_tokens=charge.input_tokens,
            output_tokens=charge.output_tokens,
            cost=charge.cost,
        )
        for position, charge in enumerate(charges, 1)
    ]
    difference = net - sum((line.amount for line in lines), ZERO)
    if difference:
        lines.append(Line(position=len(lines) + 1, description=ROUNDING, amount=difference, rounding=True))
    return tuple(lines)


def describe(charge: Charge) -> str:
    """Return what a line is for, in words."""
    what = f"Campaign {charge.campaign}" if charge.campaign else "No campaign"
    whom = f", {charge.agent_type} agents" if charge.agent_type else ""
    late = f" (late, of {charge.period})" if charge.late else ""
    return f"{what}{whom}{late}"


def credit(
    invoice: InvoiceDocument, *, number: str, issued_at: datetime, issue_date: date, reason: str
) -> InvoiceDocument:
    """Return the credit note that takes a whole invoice back: the same, with every amount and count below zero."""
    return replace(
        invoice,
        number=number,
        kind=InvoiceKind.CREDIT_NOTE,
        issued_at=issued_at,
        issue_date=issue_date,
        due_date=issue_date,
        credited_number=invoice.number,
        reason=reason,
        lines=tuple(
            replace(
                line,
                amount=-line.amount,
                cost=-line.cost,
                calls=-line.calls,
                input_tokens=-line.input_tokens,
                output_tokens=-line.output_tokens,
            )
            for line in invoice.lines
        ),
        days=tuple(replace(day, calls=-day.calls, cost=-day.cost) for day in invoice.days),
        models=tuple(
            replace(
                model,
                calls=-model.calls,
                input_tokens=-model.input_tokens,
                output_tokens=-model.output_tokens,
                cost=-model.cost,
            )
            for model in invoice.models
        ),
        overrides=tuple(
            replace(override, calls=-override.calls, amount=-override.amount) for override in invoice.overrides
        ),
        calls=-invoice.calls,
        ledger_amount=-invoice.ledger_amount,
        net_amount=-invoice.net_amount,
        tax_amount=-invoice.tax_amount,
    )


def spans_due(period: str, standing: Mapping[str, Sequence[Span]], recorded_before: datetime) -> Sequence[Span]:
    """Return what an invoice of `period` takes of what was recorded before an instant.

    `standing` has the spans of invoices that stand (those taken back do not), by the month that the invoice itself is
    of. The month's own executions come first, then those of each earlier month that has its invoice.
    """
    taken = [span for spans in standing.values() for span in spans]
    months = [period, *sorted((month for month in standing if month < period), reverse=True)]
    return tuple(span for month in months for span in _gaps(month, taken, recorded_before))


def _gaps(month: str, taken: Iterable[Span], recorded_before: datetime) -> Iterable[Span]:
    """Yield what no span has of a month."""
    begin = BEGINNING
    of_month = sorted((span for span in taken if span.period == month), key=lambda span: span.recorded_from)
    for span in of_month:
        if span.recorded_from > begin:
            yield Span(period=month, recorded_from=begin, recorded_before=span.recorded_from)
        begin = max(begin, span.recorded_before)
    if begin < recorded_before:
        yield Span(period=month, recorded_from=begin, recorded_before=recorded_before)


def content_hash(canonical: str) -> bytes:
    """Return the SHA-256 of an invoice's canonical text."""
    return hashlib.sha256(canonical.encode()).digest()
