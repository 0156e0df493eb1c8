"""How is an invoice told, to people and to programs?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import shown

if TYPE_CHECKING:
    from google.type.money_pb2 import Money

    from gatekeeper_client.v1.invoice_pb2 import BillingProfile, Invoice

COLUMNS = ("number", "kind", "period", "date", "due", "net", "tax", "total", "credits", "credited by")
NUMBERS = ("net", "tax", "total")
OPTIONAL = ("due", "tax", "net", "date", "credits", "credited by")
AMOUNTS = ("ledger_amount", "net_amount", "tax_amount", "total_amount", "override_amount")
TEXTS = (
    "number",
    "organization",
    "period",
    "issue_date",
    "due_date",
    "reference",
    "credited_number",
    "credit_note_number",
    "reason",
    "content_hash",
    "ledger_hash",
)


def invoice_text(invoice: Invoice, paths: Sequence[Path]) -> str:
    """Tell of an invoice and its files."""
    named = f"{_kind(invoice).replace('_', ' ').capitalize()} {invoice.number}".rstrip()
    currency = invoice.total_amount.currency_code
    total, tax = plain_money(invoice.total_amount), plain_money(invoice.tax_amount)
    told = f"{named} of {shown(invoice.organization)!r} for {invoice.period}: {total} {currency}"
    told += f" (tax {tax}), {invoice.entries:,} executions, due {invoice.due_date}."
    return "\n".join([told, *map(str, paths)])


def seller_warning(invoice: Invoice) -> str:
    """Tell what to do about an invoice that does not say who bills; nothing where it does, or is a draft."""
    if invoice.seller.legal_name or _kind(invoice) != "invoice":
        return ""
    return (
        f"invoice {invoice.number} of {shown(invoice.organization)!r} does not say who bills: set"
        f" GATEKEEPER_SELLER_NAME, GATEKEEPER_SELLER_ADDRESS … for the server;"
        f" `--credit {invoice.number}` then takes it back, and its month can be issued anew"
    )


def invoice_document(invoice: Invoice, paths: Sequence[Path] = ()) -> dict[str, Any]:
    """Return an invoice for programs."""
    return {
        "kind": _kind(invoice).upper(),
        **{name: getattr(invoice, name) for name in TEXTS},
        "currency": invoice.total_amount.currency_code,
        **{name: plain_money(getattr(invoice, name)) for name in AMOUNTS},
        "calls": invoice.calls,
        "entries": invoice.entries,
        "line_count": invoice.line_count,
        "files": [str(path) for path in paths],
    }


def invoice_row(invoice: Invoice) -> list[str]:
    """Return an invoice as a row under COLUMNS."""
    currency = invoice.total_amount.currency_code
    return [
        invoice.number,
        _kind(invoice).replace("_", " "),
        invoice.period,
        invoice.issue_date,
        invoice.due_date,
        plain_money(invoice.net_amount),
        plain_money(invoice.tax_amount),
        f"{plain_money(invoice.total_amount)} {currency}",
        invoice.credited_number,
        invoice.credit_note_number,
    ]


def unbilled_text(periods: Sequence[str]) -> str:
    """Tell of months that were not billed."""
    return f"Over, with executions, and not billed: {', '.join(periods)}."


def profile_document(profile: BillingProfile) -> dict[str, Any]:
    """Return a billing profile for programs."""
    from gatekeeper_client.v1.invoice_pb2 import TaxCategory

    buyer = {field.name: getattr(profile.buyer, field.name) for field in profile.buyer.DESCRIPTOR.fields}
    return {
        **buyer,
        "reference": profile.reference,
        "tax_category": TaxCategory.Name(profile.tax_category).removeprefix("TAX_CATEGORY_"),
        "tax_rate_percent": profile.tax_rate_percent,
        "tax_note": profile.tax_note,
        "payment_days": profile.payment_days,
        "etag": profile.etag,
    }


def plain_money(money: Money) -> str:
    """Write an amount without its currency."""
    from gatekeeper.domain.money import plain
    from gatekeeper_client import from_money

    return plain(from_money(money))


def _kind(invoice: Invoice) -> str:
    from gatekeeper_client.v1.invoice_pb2 import InvoiceKind

    return InvoiceKind.Name(invoice.kind).removeprefix("INVOICE_KIND_").lower()
