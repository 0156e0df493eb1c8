"""What does an invoice say as FOCUS 1.2, the FinOps Open Cost and Usage Specification?

A row is what a day's calls of one agent to one model cost, to the nano: the rows add up to the ledger's own sum, so
that there is no rounding difference, and tax is not among them. What counts for an earlier month than the invoice, and
all of a credit note, corrects a period that was invoiced before. The specification knows no maker of a model but by
its name, so whoever bills is provider and publisher.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import BinaryIO

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind

from .csv_cells import FOR_MACHINES, Value, write_table

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    # There are no commitments here; readers that ask for unused ones ask this column, which stays empty.
    "CommitmentDiscountStatus",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
    "x_InputTokens",
    "x_OutputTokens",
)
# What is bought where the caller told a sum, and no model.
CALL_SKU = "llm-call"
SERVICE = "LLM calls"
DECEMBER = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class FocusCharge:
    """Executions on an invoice, added up by what makes a row. `day` as 2026-11-20, `period` is its month."""

    day: str
    period: str
    late: bool
    department: str
    campaign: str
    agent: str
    agent_type: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal


def write(document: InvoiceDocument, charges: Iterable[FocusCharge], out: BinaryIO, *, zone: tzinfo) -> None:
    """Write a row for each charge; days begin by the calendar of `zone`, the organization's.

    The charges are those of the ledger. A credit note takes them back: its rows stand below zero.
    """
    always = _always(document, zone)
    sign = -1 if document.kind is InvoiceKind.CREDIT_NOTE else 1
    rows = ({**always, **_row(document, charge, sign, zone)} for charge in charges)
    write_table(out, COLUMNS, ([row.get(column) for column in COLUMNS] for row in rows), FOR_MACHINES)


def _always(document: InvoiceDocument, zone: tzinfo) -> dict[str, Value]:
    """Return what all rows of an invoice say."""
    issuer = document.seller.legal_name or document.organization
    month = _billing_month(document)
    return {
        "BillingAccountId": document.organization,
        "BillingAccountName": document.terms.buyer.legal_name or document.organization,
        "BillingAccountType": "Organization",
        "BillingCurrency": document.currency,
        "BillingPeriodStart": _midnight(month, zone),
        "BillingPeriodEnd": _midnight(_next_month(month), zone),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "InvoiceId": document.number or None,
        "InvoiceIssuerName": issuer,
        "PricingCategory": "Standard",
        "PricingUnit": "Requests",
        "ProviderName": issuer,
        "PublisherName": issuer,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": SERVICE,
        "ServiceSubcategory": "Generative AI",
    }


def _row(document: InvoiceDocument, charge: FocusCharge, sign: int, zone: tzinfo) -> dict[str, Value]:
    """Return what a charge says by itself."""
    day = date.fromisoformat(charge.day)
    corrects = charge.late or document.kind is InvoiceKind.CREDIT_NOTE
    return {
        **_cost(charge.cost if sign > 0 else -charge.cost),
        **_quantities(charge, sign),
        **_sub_account(charge),
        **_sku(charge),
        "ChargeClass": "Correction" if corrects else None,
        "ChargeDescription": _description(charge),
        "ChargePeriodStart": _midnight(day, zone),
        "ChargePeriodEnd": _midnight(day + timedelta(days=1), zone),
        "Tags": _tags(charge),
    }


def _cost(cost: Decimal) -> dict[str, Value]:
    """Return the four costs of the specification. There are no discounts here, so they are one."""
    return dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost)


def _quantities(charge: FocusCharge, sign: int) -> dict[str, Value]:
    """Return what was bought, calls, and what was used up: tokens, where they were counted."""
    tokens = charge.input_tokens + charge.output_tokens
    return {
        "PricingQuantity": _quantity(sign * charge.calls),
        "ConsumedQuantity": _quantity(sign * (tokens or charge.calls)),
        "ConsumedUnit": "Tokens" if tokens else "Requests",
        "x_InputTokens": sign * charge.input_tokens,
        "x_OutputTokens": sign * charge.output_tokens,
    }


def _quantity(count: int) -> Decimal:
    """Return a count with a digit behind the point: readers tell decimals from whole numbers by it."""
    return Decimal(count).quantize(Decimal("0.1"))


def _sub_account(charge: FocusCharge) -> dict[str, Value]:
    if not charge.department:
        return {}
    return {
        "SubAccountId": charge.department,
        "SubAccountName": charge.department,
        "SubAccountType": "Department",
    }


def _sku(charge: FocusCharge) -> dict[str, Value]:
    sku = charge.model or CALL_SKU
    return {"SkuId": sku, "SkuPriceId": sku, "SkuMeter": "Calls"}


def _description(charge: FocusCharge) -> str:
    what = f"Calls to {charge.model}" if charge.model else "Calls"
    return f"{what} for campaign {charge.campaign}" if charge.campaign else what


def _tags(charge: FocusCharge) -> str:
    named = {
        "department": charge.department,
        "campaign": charge.campaign,
        "agent": charge.agent,
        "agent_type": charge.agent_type,
    }
    return json.dumps({key: name for key, name in named.items() if name}, ensure_ascii=False)


def _billing_month(document: InvoiceDocument) -> date:
    """Return the first day of the month that is billed. A credit note belongs to the month that it was written in."""
    if document.kind is InvoiceKind.CREDIT_NOTE:
        return document.issue_date.replace(day=1)
    return date.fromisoformat(f"{document.period}-01")


def _next_month(first: date) -> date:
    return (
        first.replace(year=first.year + 1, month=1) if first.month == DECEMBER else first.replace(month=first.month + 1)
    )


def _midnight(day: date, zone: tzinfo) -> str:
    begins = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    return f"{begins:%Y-%m-%dT%H:%M:%SZ}"
