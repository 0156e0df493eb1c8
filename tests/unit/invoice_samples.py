"""What do invoices look like in tests?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from gatekeeper.domain.invoices import (
    Billed,
    Branding,
    Charge,
    DayTotal,
    Heading,
    InvoiceDocument,
    InvoiceKind,
    ModelTotal,
    OverrideTotal,
    Party,
    Span,
    Tax,
    TaxCategory,
    Terms,
    bill,
)

ISSUED_AT = datetime(2026, 12, 1, 6, tzinfo=UTC)
LEDGER_HASH = "5f2c9a1e" * 8
SELLER = Party(
    legal_name="Example Agents Ltd",
    address="1 Sample Street\nFloor 3",
    city="Exampleton",
    postal_code="EX1 1AA",
    country="GB",
    vat_id="GB000000000",
    email="billing@seller.example",
)
BUYER = Party(
    legal_name="Muster GmbH",
    address="Musterweg 7",
    city="Musterstadt",
    postal_code="12345",
    country="DE",
    vat_id="DE000000000",
    email="accounts@buyer.example",
)
TERMS = Terms(
    buyer=BUYER,
    reference="PO-4711",
    tax=Tax(category=TaxCategory.STANDARD, rate_percent=Decimal(20), note="Place of supply: GB."),
)
BRANDING = Branding(footer="Example Agents Ltd, registered in Exampleton, number 00000000\nbilling@seller.example")
HEADING = Heading(
    number="2026-000042",
    kind=InvoiceKind.INVOICE,
    organization="example",
    period="2026-11",
    issued_at=ISSUED_AT,
    issue_date=date(2026, 12, 1),
    currency="EUR",
    seller=SELLER,
    terms=TERMS,
    branding=BRANDING,
)
MODELS = ("large-model-4", "small-model-4-mini", "embedding-model-2")
CAMPAIGNS = ("autumn-launch", "newsletter", "support", "winter-sale")
AGENT_TYPES = ("writer", "researcher", "reviewer")


def charge(number: int, **changes: Any) -> Charge:
    """Return what a campaign's agents of one type were charged: other amounts for each number, to the nano."""
    calls = 40 + number * 7 % 900
    return replace(
        Charge(
            period="2026-11",
            late=False,
            campaign=CAMPAIGNS[number % len(CAMPAIGNS)] + (f"-{number}" if number >= 12 else ""),
            agent_type=AGENT_TYPES[number % len(AGENT_TYPES)],
            calls=calls,
            input_tokens=calls * 1_931,
            output_tokens=calls * 402,
            cost=Decimal(calls * 1_931 * 7 + number * 104_729) / 1_000_000 + Decimal("0.000004321") * (number + 1),
        ),
        **changes,
    )


def charges(count: int) -> Sequence[Charge]:
    """Return so many charges, the last of them late where there are several."""
    found = [charge(number) for number in range(count)]
    if count > 1:
        found[-1] = replace(found[-1], late=True, period="2026-10")
    return found


def billed(found: Sequence[Charge]) -> Billed:
    """Return charges with their days, models and an override: each adds up to the charges, to the nano."""
    days: dict[str, list[Charge]] = defaultdict(list)
    models: dict[str, list[Charge]] = defaultdict(list)
    for number, each in enumerate(found):
        days[f"{each.period}-{number * 3 % 30 + 1:02d}"].append(each)
        models[MODELS[number % len(MODELS)]].append(each)
    overrides = (
        []
        if not found
        else [
            OverrideTotal(
                override_id="0198c0de-0000-7000-8000-000000000001",
                reason="The launch must not stop at night",
                granted_by="ada@example.org",
                calls=found[0].calls,
                amount=found[0].cost / 4,
            )
        ]
    )
    return Billed(
        spans=[Span(period="2026-11", recorded_before=ISSUED_AT)],
        charges=found,
        days=[
            DayTotal(day=day, calls=sum(each.calls for each in of), cost=sum((each.cost for each in of), Decimal(0)))
            for day, of in sorted(days.items())
        ],
        models=[
            ModelTotal(
                model=model,
                calls=sum(each.calls for each in of),
                input_tokens=sum(each.input_tokens for each in of),
                output_tokens=sum(each.output_tokens for each in of),
                cost=sum((each.cost for each in of), Decimal(0)),
            )
            for model, of in sorted(models.items())
        ],
        overrides=overrides,
        entries=sum(each.calls for each in found),
        ledger_hash=LEDGER_HASH if found else "0" * 64,
    )


def sample(found: Sequence[Charge] | None = None, **changes: Any) -> InvoiceDocument:
    """Return an invoice over charges (none given: twelve); changes are of its heading."""
    heading = replace(HEADING, **changes)
    return bill(heading, billed(charges(12) if found is None else found))


def long_sample(lines: int, **changes: Any) -> InvoiceDocument:
    """Return an invoice of so many charges."""
    return sample(charges(lines), **changes)
