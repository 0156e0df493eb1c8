"""How do tests get an invoice? From entries of a billing log, added up as the ledger adds them up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby

from gatekeeper.domain.invoices import (
    Billed,
    Branding,
    Charge,
    Heading,
    InvoiceDocument,
    InvoiceKind,
    Party,
    Span,
    Tax,
    TaxCategory,
    Terms,
    bill,
    credit,
)
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.periods import Periods
from gatekeeper.domain.reservation import Attribution, Execution, ExecutionKind, Outcome
from gatekeeper.invoicing.focus import FocusCharge

PERIOD = "2026-11"
ISSUED = datetime(2026, 12, 1, 8, 30, tzinfo=UTC)
SELLER = Party(
    legal_name="Modellwerk GmbH",
    address="Hauptstraße 1\nHinterhaus",
    city="Berlin",
    postal_code="10115",
    country="DE",
    vat_id="DE123456789",
    email="billing@modellwerk.example",
)
BUYER = Party(
    legal_name="Größe & Söhne <株式会社>",
    address="2 Rue de la Paix",
    city="Paris",
    postal_code="75002",
    country="FR",
    vat_id="FR12345678901",
)
STANDARD = Tax(category=TaxCategory.STANDARD, rate_percent=Decimal(19))
WHOSE = Attribution(department="sales", campaign="spring", agent="a1", agent_type="writer")


def execution(
    number: int = 1,
    *,
    cost: str = "0.123456789",
    day: str = "2026-11-20",
    attribution: Attribution = WHOSE,
    **more: object,
) -> Execution:
    """Return an entry of the billing log."""
    entry = Execution(
        reservation_id=f"00000000-0000-4000-8000-{number:012}",
        kind=ExecutionKind.COMMIT,
        attribution=attribution,
        periods=Periods(day, day[:7]),
        committed_at=datetime.fromisoformat(f"{day}T12:00:00.5+00:00"),
        cost=Decimal(cost),
        reserved_amount=Decimal(1),
        outcome=Outcome.SUCCEEDED,
        model="gpt-5",
        price_version="2026-11-01",
        input_tokens=1000,
        output_tokens=200,
    )
    return entry._replace(**more)  # type: ignore[arg-type]


def month() -> list[Execution]:
    """Return entries of two departments and four campaigns: some of them late, one taken back, some without a model."""
    names = [("sales", "spring"), ("sales", "autumn"), ("research", "crème brûlée"), ("", "")]
    entries = [
        execution(
            number,
            cost=f"0.{number:09}",
            day=f"2026-11-{number % 30 + 1:02}",
            attribution=Attribution(
                department=department, campaign=campaign, agent=f"a{number % 3}", agent_type="writer"
            ),
            model=("gpt-5", "claude-sonnet-5", "")[number % 3],
        )
        for number, (department, campaign) in enumerate(names * 10, 1)
    ]
    charged = execution(
        100, cost="2.5", day="2026-10-31", kind=ExecutionKind.EXPIRY_CHARGE, input_tokens=0, output_tokens=0
    )
    taken_back = charged._replace(kind=ExecutionKind.REVERSAL, cost=-charged.cost)
    return [*entries, charged, taken_back, execution(100, cost="3.000000001", day="2026-10-31", late=True)]


def invoice(
    executions: Sequence[Execution] = (),
    *,
    currency: str = "EUR",
    tax: Tax = STANDARD,
    seller: Party = SELLER,
    buyer: Party = BUYER,
    kind: InvoiceKind = InvoiceKind.INVOICE,
) -> InvoiceDocument:
    """Return the invoice over some entries."""
    heading = Heading(
        number="" if kind is InvoiceKind.DRAFT else "2026-000007",
        kind=kind,
        organization="acme",
        period=PERIOD,
        issued_at=ISSUED,
        issue_date=date(2026, 12, 1),
        currency=currency,
        seller=seller,
        terms=Terms(buyer=buyer, reference="PO 4711", tax=tax),
        branding=Branding(),
    )
    billed = Billed(
        spans=(Span(period=PERIOD, recorded_before=ISSUED),),
        charges=charges(executions),
        days=(),
        models=(),
        overrides=(),
        entries=len(executions),
        ledger_hash="ab" * 32,
    )
    return bill(heading, billed)


def credit_note(taken_back: InvoiceDocument) -> InvoiceDocument:
    """Return the credit note over an invoice."""
    return credit(
        taken_back,
        number="2027-000001",
        issued_at=datetime(2027, 1, 5, tzinfo=UTC),
        issue_date=date(2027, 1, 5),
        reason="Billed to the wrong company",
    )


def charges(executions: Iterable[Execution]) -> tuple[Charge, ...]:
    """Add up what makes a line."""
    return tuple(
        Charge(
            period=row.period,
            late=row.late,
            campaign=row.campaign,
            agent_type=row.agent_type,
            calls=row.calls,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost=row.cost,
        )
        for row in added_up(executions, ("period", "campaign", "agent_type"))
    )


def focus_charges(executions: Iterable[Execution]) -> list[FocusCharge]:
    """Add up what makes a row of FOCUS."""
    return added_up(executions, ("day", "department", "campaign", "agent", "agent_type", "model"))


def added_up(executions: Iterable[Execution], by: Sequence[str]) -> list[FocusCharge]:
    """Add entries up, grouped by some of a charge's fields."""

    def key(charge: FocusCharge) -> tuple[str, ...]:
        return tuple(getattr(charge, name) for name in by)

    groups = groupby(sorted(map(_charge, executions), key=key), key)
    return [_sum(list(group)) for _, group in groups]


def _charge(entry: Execution) -> FocusCharge:
    whose = entry.attribution
    return FocusCharge(
        day=entry.periods.day,
        period=entry.periods.month,
        late=entry.periods.month != PERIOD,
        department=whose.department,
        campaign=whose.campaign,
        agent=whose.agent,
        agent_type=whose.agent_type,
        model=entry.model,
        calls=-1 if entry.kind is ExecutionKind.REVERSAL else 1,
        input_tokens=entry.input_tokens,
        output_tokens=entry.output_tokens,
        cost=entry.cost,
    )


def _sum(group: Sequence[FocusCharge]) -> FocusCharge:
    return replace(
        group[0],
        calls=sum(charge.calls for charge in group),
        input_tokens=sum(charge.input_tokens for charge in group),
        output_tokens=sum(charge.output_tokens for charge in group),
        cost=sum((charge.cost for charge in group), ZERO),
    )
