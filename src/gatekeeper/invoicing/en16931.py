"""What does an invoice say in the terms of EN 16931, the European norm of electronic invoices?

Its terms have numbers, BT-1 and so on; UBL and CII are two ways of writing the same ones. A line is one unit at its
amount, for a price in the norm is never below zero and amounts are rounded once: quantities below zero stand for lines
that give back. A credit note has its amounts above zero, as its type says that it takes back. A draft is a pro forma
invoice by its type, so that nobody books it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from gatekeeper.domain.errors import BillingIncomplete
from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Line, Party, TaxCategory

Terms = dict[str, Any]

# UNTDID 1001.
TYPES = {InvoiceKind.INVOICE: "380", InvoiceKind.CREDIT_NOTE: "381", InvoiceKind.DRAFT: "325"}
# UNTDID 5305.
CATEGORIES = {
    TaxCategory.STANDARD: "S",
    TaxCategory.ZERO: "Z",
    TaxCategory.EXEMPT: "E",
    TaxCategory.REVERSE_CHARGE: "AE",
    TaxCategory.NOT_SUBJECT: "O",
}
# Why no tax is charged, where the category itself says it.
REASONS = {
    TaxCategory.REVERSE_CHARGE: ("Reverse charge", "VATEX-EU-AE"),
    TaxCategory.NOT_SUBJECT: ("Not subject to VAT", "VATEX-EU-O"),
}
# The norm knows no more, whatever the currency.
DIGITS_MAX = 2
# UNECE Recommendation 20: one.
PIECE = "C62"
# The scheme of electronic addresses that are e-mail addresses.
E_MAIL = "EM"


def terms_of(document: InvoiceDocument) -> Terms:
    """Return an invoice in the norm's terms. Raises `BillingIncomplete`."""
    require_complete(document)
    upright = _Upright(document)
    return {
        **_heading(document),
        **_period(document),
        "BG-4": _party(document.seller, document),
        "BG-7": _party(document.terms.buyer, document),
        **_totals(document, upright),
        "BG-23": [_breakdown(document, upright)],
        "BG-25": [_line(document, line, upright) for line in document.lines] or [_nothing(document)],
    }


def require_complete(document: InvoiceDocument) -> None:
    """Raise `BillingIncomplete` for an invoice that does not say all that the norm demands."""
    missing = ", ".join(_missing(document))
    if missing:
        raise BillingIncomplete(missing=missing)


class _Upright:
    """Writes amounts with the sign that the norm wants: a credit note's are turned round."""

    def __init__(self, document: InvoiceDocument) -> None:
        self._turned = document.kind is InvoiceKind.CREDIT_NOTE
        self._digits = document.digits

    def amount(self, amount: Decimal) -> str:
        return f"{self.number(amount):.{self._digits}f}"

    def number(self, number: Decimal) -> Decimal:
        upright = -number if self._turned else number
        # A sum that was rounded to nothing from below keeps its sign, and the norm's rules know no such zero.
        return upright or abs(upright)


def _missing(document: InvoiceDocument) -> Iterator[str]:
    """Yield what the norm demands and the invoice does not have."""
    seller, buyer, tax = document.seller, document.terms.buyer, document.terms.tax
    if not seller.legal_name:
        yield "our legal name"
    if not seller.country:
        yield "our country"
    if not buyer.country:
        yield "the buyer's country"
    if tax.category is TaxCategory.NOT_SUBJECT and not (seller.vat_id or seller.email):
        yield "our VAT id or e-mail address"
    if tax.category is not TaxCategory.NOT_SUBJECT and not seller.vat_id:
        yield "our VAT id"
    if tax.category is TaxCategory.REVERSE_CHARGE and not buyer.vat_id:
        yield "the buyer's VAT id"
    if tax.category is TaxCategory.EXEMPT and not tax.note:
        yield "the reason why no tax is charged"
    if (tax.category is TaxCategory.STANDARD) != (tax.rate_percent > 0):
        yield f"a tax rate that fits {tax.category}, which {tax.rate_percent} % does not"
    if document.digits > DIGITS_MAX:
        yield f"amounts with {DIGITS_MAX} digits behind the point, and {document.currency} has {document.digits}"


def _heading(document: InvoiceDocument) -> Terms:
    back = document.kind is InvoiceKind.CREDIT_NOTE
    notes = [document.reason, f"SHA-256 of the ledger's entries: {document.ledger_hash}"]
    payable = f"Settled with invoice {document.credited_number}" if back else f"Payable by {document.due_date}"
    return {
        "BT-1": document.number or f"DRAFT-{document.period}",
        "BT-2": document.issue_date,
        "BT-3": TYPES[document.kind],
        "BT-5": document.currency,
        "BT-9": None if back else document.due_date,
        "BT-10": document.terms.reference or None,
        "BT-20": payable,
        "BG-1": [{"BT-22": note} for note in notes if note],
        "BG-3": [{"BT-25": document.credited_number}] if back else [],
    }


def _period(document: InvoiceDocument) -> Terms:
    """Return the days that are billed: the month, whose end completes what is supplied, and those of late lines."""
    months = {document.period, *(line.period for line in document.lines if line.period)}
    end = _last_day(max(months))
    return {"BT-72": end, "BT-73": _first_day(min(months)), "BT-74": end}


def _party(party: Party, document: InvoiceDocument) -> Terms:
    """Return one side. Where tax is not the subject, VAT ids may not stand as such, but a seller needs some id."""
    lines = [line.strip() for line in party.address.splitlines() if line.strip()]
    subject = document.terms.tax.category is not TaxCategory.NOT_SUBJECT
    known_as = "" if subject or party is not document.seller else party.vat_id or party.email
    return {
        "name": party.legal_name or document.organization,
        "identifiers": {None: known_as} if known_as else {},
        "vat_identifier": party.vat_id if subject else "",
        "einvoicing_addr": party.email,
        "einvoicing_addr_schemeid": E_MAIL,
        **dict(zip(("addr_l1", "addr_l2"), lines, strict=False)),
        "addr_l3": ", ".join(lines[2:]),
        "city": party.city,
        "postcode": party.postal_code,
        "country_code": party.country,
    }


def _totals(document: InvoiceDocument, upright: _Upright) -> Terms:
    net, total = upright.amount(document.net_amount), upright.amount(document.total_amount)
    return {
        "BT-106": net,
        "BT-109": net,
        "BT-110": upright.amount(document.tax_amount),
        "BT-112": total,
        "BT-115": total,
    }


def _breakdown(document: InvoiceDocument, upright: _Upright) -> Terms:
    """Return the tax by category, of which an invoice has one."""
    tax = document.terms.tax
    reason, code = REASONS.get(tax.category, ("", ""))
    is_told = tax.category in REASONS or tax.category is TaxCategory.EXEMPT
    return {
        "BT-116": upright.amount(document.net_amount),
        "BT-117": upright.amount(document.tax_amount),
        "BT-118": CATEGORIES[tax.category],
        "BT-119": _rate(document),
        "BT-120": (tax.note or reason) if is_told else None,
        "BT-121": code or None,
    }


def _line(document: InvoiceDocument, line: Line, upright: _Upright) -> Terms:
    amount = upright.number(line.amount)
    return {
        **_position(document, line.position, line.description),
        "BT-129": "-1" if amount < 0 else "1",
        "BT-131": upright.amount(line.amount),
        "BT-146": f"{abs(amount):.{document.digits}f}",
        "BT-134": _first_day(line.period) if line.period else None,
        "BT-135": _last_day(line.period) if line.period else None,
        "BG-32": [] if line.rounding else _attributes(line, upright),
    }


def _nothing(document: InvoiceDocument) -> Terms:
    """Return the line of an invoice over nothing, for the norm demands one."""
    zero = f"{0:.{document.digits}f}"
    what = _position(document, 1, f"No calls in {document.period}")
    return {**what, "BT-129": "1", "BT-131": zero, "BT-146": zero}


def _position(document: InvoiceDocument, position: int, what: str) -> Terms:
    return {
        "BT-126": str(position),
        "BT-130": PIECE,
        "BT-151": CATEGORIES[document.terms.tax.category],
        "BT-152": _rate(document),
        "BT-153": what,
    }


def _attributes(line: Line, upright: _Upright) -> list[Terms]:
    """Return what a line stands for, as a norm for goods has no other place for it."""
    figures: Mapping[str, Decimal | int] = {
        "Calls": line.calls,
        "Input tokens": line.input_tokens,
        "Output tokens": line.output_tokens,
        "Exact cost": line.cost,
    }
    return [{"BT-160": name, "BT-161": f"{upright.number(Decimal(figure)):f}"} for name, figure in figures.items()]


def _rate(document: InvoiceDocument) -> str | None:
    tax = document.terms.tax
    return None if tax.category is TaxCategory.NOT_SUBJECT else f"{tax.rate_percent:f}"


def _first_day(month: str) -> date:
    return date.fromisoformat(f"{month}-01")


def _last_day(month: str) -> date:
    following = _first_day(month) + timedelta(days=31)
    return following.replace(day=1) - timedelta(days=1)
