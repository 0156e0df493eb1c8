"""How are amounts, counts and names written on an invoice?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Party, TaxCategory
from gatekeeper.domain.money import plain

TITLES: Mapping[InvoiceKind, str] = {
    InvoiceKind.DRAFT: "Draft invoice",
    InvoiceKind.INVOICE: "Invoice",
    InvoiceKind.CREDIT_NOTE: "Credit note",
}
TOTALS: Mapping[InvoiceKind, str] = {
    InvoiceKind.DRAFT: "Total so far",
    InvoiceKind.INVOICE: "Total to pay",
    InvoiceKind.CREDIT_NOTE: "Total credited",
}
TAXES: Mapping[TaxCategory, str] = {
    TaxCategory.STANDARD: "standard rate",
    TaxCategory.ZERO: "zero rated",
    TaxCategory.EXEMPT: "exempt",
    TaxCategory.REVERSE_CHARGE: "reverse charge",
    TaxCategory.NOT_SUBJECT: "not subject to tax",
}
NO_NAME = "\u2013"


def amount(value: Decimal, digits: int) -> str:
    """Write an amount in whole minor units, with commas between thousands; nothing is never below zero."""
    return f"{value + 0:,.{digits}f}"


def exact(value: Decimal) -> str:
    """Write an amount to the nano, with commas between thousands."""
    whole, _, fraction = plain(value + 0).partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}.{fraction}"


def count(value: int) -> str:
    """Write a count with commas between thousands."""
    return f"{value:,}"


def tax_title(document: InvoiceDocument) -> str:
    """Say how the net amount is taxed."""
    tax = document.terms.tax
    return f"Tax {plain(tax.rate_percent).removesuffix('.00')} %, {TAXES[tax.category]}"


def total_title(document: InvoiceDocument) -> str:
    """Say what the last amount is."""
    return TOTALS[document.kind]


def payment(document: InvoiceDocument) -> str:
    """Say when and how the amount is paid."""
    if document.kind is InvoiceKind.CREDIT_NOTE:
        return f"This credit note takes invoice {document.credited_number} back as a whole. It is not to be paid."
    if document.kind is InvoiceKind.DRAFT:
        return "This is a draft: what is used until the month ends is yet to come. It is not to be paid."
    if not document.total_amount:
        return "Nothing is to be paid."
    days = document.terms.payment_days
    within = f"within {days} {'day' if days == 1 else 'days'} of the issue date" if days else "on the issue date"
    return f"Payable {within}: by {document.due_date}. Please name invoice {document.number} with your payment."


def address(party: Party) -> Sequence[str]:
    """Return the lines of a party below its name."""
    place = " ".join(part for part in (party.postal_code, party.city) if part)
    lines = [*party.address.splitlines(), ", ".join(part for part in (place, party.country) if part)]
    lines.append(f"VAT ID {party.vat_id}" if party.vat_id else "")
    lines.append(party.email)
    return [line for line in lines if line.strip()]
