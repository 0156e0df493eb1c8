"""What do an organization's invoices say of the buyer, of tax and of payment, and what may they not say?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from .access import Actor
from .audit import AuditAction, AuditEvent, Content
from .errors import EtagMismatch, InvalidField
from .invoices import Party, Tax, TaxCategory, Terms
from .money import ZERO

PAYMENT_DAYS_DEFAULT = 30
WITH_NOTE = frozenset({TaxCategory.EXEMPT, TaxCategory.REVERSE_CHARGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingProfile:
    """What is in force for invoices to come. `revision` is 0, and `updated_at` None, where nothing was ever set."""

    terms: Terms
    revision: int = 0
    updated_at: datetime | None = None

    @property
    def etag(self) -> str:
        """The version, for optimistic locking."""
        return f"{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetBillingProfile:
    """What is to be in force, all of it. A category of None stays as it is; an empty etag is not compared."""

    buyer: Party
    reference: str
    tax: Tax
    category: TaxCategory | None
    payment_days: int
    etag: str = ""
    reason: str = ""


def unset(organization: str) -> BillingProfile:
    """Return the profile of an organization that has set none: it is billed by its name."""
    return BillingProfile(terms=Terms(buyer=Party(legal_name=organization), payment_days=PAYMENT_DAYS_DEFAULT))


def change(organization: str, before: BillingProfile, command: SetBillingProfile) -> BillingProfile:
    """Return the profile after `command`. Raises `EtagMismatch` or `InvalidField`."""
    if command.etag and command.etag != before.etag:
        raise EtagMismatch(etag=before.etag)
    is_new = not before.revision
    tax = replace(command.tax, category=command.category or before.terms.tax.category)
    _check(tax)
    terms = Terms(
        buyer=replace(command.buyer, legal_name=command.buyer.legal_name or organization),
        reference=command.reference,
        tax=tax,
        payment_days=command.payment_days or (PAYMENT_DAYS_DEFAULT if is_new else 0),
    )
    return BillingProfile(terms=terms, revision=before.revision + 1)


def _check(tax: Tax) -> None:
    """Refuse a tax that no invoice could tell of."""
    if tax.category is TaxCategory.STANDARD and tax.rate_percent == ZERO:
        problem = "must be above 0 for STANDARD; what is taxed at 0 % is ZERO"
        raise InvalidField(field="profile.tax_rate_percent", problem=problem)
    if tax.category is not TaxCategory.STANDARD and tax.rate_percent != ZERO:
        problem = f"must be 0 for {tax.category}; only STANDARD has a rate"
        raise InvalidField(field="profile.tax_rate_percent", problem=problem)
    if tax.category in WITH_NOTE and not tax.note.strip():
        problem = f"must say why no tax is charged, for {tax.category}"
        raise InvalidField(field="profile.tax_note", problem=problem)


def change_event(before: BillingProfile, after: BillingProfile, actor: Actor, now: datetime, reason: str) -> AuditEvent:
    """Return what is written down about a change."""
    return AuditEvent(
        action=AuditAction.BILLING_PROFILE_SET,
        actor=actor,
        subject="billing profile",
        occurred_at=now,
        before=_content(before.terms) if before.revision else None,
        after=_content(after.terms),
        reason=reason,
    )


def _content(terms: Terms) -> Content:
    buyer, tax = terms.buyer, terms.tax
    return {
        "legal_name": buyer.legal_name,
        "address": buyer.address,
        "city": buyer.city,
        "postal_code": buyer.postal_code,
        "country": buyer.country,
        "vat_id": buyer.vat_id,
        "email": buyer.email,
        "reference": terms.reference,
        "tax_category": tax.category,
        "tax_rate_percent": f"{tax.rate_percent.normalize():f}",
        "tax_note": tax.note,
        "payment_days": f"{terms.payment_days}",
    }
