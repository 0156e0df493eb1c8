"""Which invoices can there be? Any charges, tax and currency."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from gatekeeper.domain.invoices import (
    Billed,
    Branding,
    Charge,
    DayTotal,
    Heading,
    InvoiceKind,
    ModelTotal,
    OverrideTotal,
    Party,
    Span,
    Tax,
    TaxCategory,
    Terms,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MONTHS = st.sampled_from(["2026-01", "2026-02", "2026-03"])
COUNTS = st.integers(0, 10**9)
# Up to a billion, to the nano; reversals are below zero.
COSTS = st.integers(-(10**18), 10**18).map(lambda nanos: Decimal(nanos).scaleb(-9))
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
DATES = st.dates(date(2000, 1, 1), date(2100, 1, 1))
# With no digits behind the point, with two and with three.
CURRENCIES = st.sampled_from(["JPY", "EUR", "TND"])
PARTIES = st.builds(Party, **dict.fromkeys(Party.__dataclass_fields__, TEXTS))
TAXES = st.builds(
    Tax,
    category=st.sampled_from(TaxCategory),
    rate_percent=st.decimals(0, Decimal("99.9999"), places=4),
    note=TEXTS,
)
CHARGES = st.builds(
    Charge,
    period=MONTHS,
    late=st.booleans(),
    campaign=TEXTS,
    agent_type=TEXTS,
    calls=COUNTS,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cost=COSTS,
)
SPANS = st.builds(
    lambda period, begin, length: Span(period=period, recorded_from=begin, recorded_before=begin + length),
    MONTHS,
    INSTANTS,
    st.timedeltas(timedelta(microseconds=1), timedelta(days=60)),
)
BILLED = st.builds(
    Billed,
    spans=st.lists(SPANS, max_size=3).map(tuple),
    charges=st.lists(CHARGES, max_size=8).map(tuple),
    days=st.lists(st.builds(DayTotal, day=TEXTS, calls=COUNTS, cost=COSTS), max_size=3).map(tuple),
    models=st.lists(
        st.builds(ModelTotal, model=TEXTS, calls=COUNTS, input_tokens=COUNTS, output_tokens=COUNTS, cost=COSTS),
        max_size=3,
    ).map(tuple),
    overrides=st.lists(
        st.builds(OverrideTotal, override_id=TEXTS, reason=TEXTS, granted_by=TEXTS, calls=COUNTS, amount=COSTS),
        max_size=2,
    ).map(tuple),
    entries=COUNTS,
    ledger_hash=TEXTS,
)
HEADINGS = st.builds(
    Heading,
    number=TEXTS,
    kind=st.sampled_from([InvoiceKind.DRAFT, InvoiceKind.INVOICE]),
    organization=TEXTS,
    period=MONTHS,
    issued_at=INSTANTS,
    issue_date=DATES,
    currency=CURRENCIES,
    seller=PARTIES,
    terms=st.builds(Terms, buyer=PARTIES, reference=TEXTS, tax=TAXES, payment_days=st.integers(0, 365)),
    branding=st.builds(Branding, accent=TEXTS, logo_base64=TEXTS, footer=TEXTS),
    time_zone=TEXTS,
)
