"""How do messages become billing profiles, and the other way round?"""

from __future__ import annotations

from decimal import Decimal

from gatekeeper.domain.billing_profiles import BillingProfile, SetBillingProfile
from gatekeeper.domain.invoices import Party, Tax, TaxCategory
from gatekeeper_client.v1 import admin_service_pb2 as pb
from gatekeeper_client.v1 import invoice_pb2

from .translate import write_time

CATEGORIES = {category: invoice_pb2.TaxCategory.Value(f"TAX_CATEGORY_{category}") for category in TaxCategory}
CATEGORY_OF = {value: category for category, value in CATEGORIES.items()}


def read_profile(request: pb.SetBillingProfileRequest) -> SetBillingProfile:
    """Read what is to be in force."""
    profile = request.profile
    return SetBillingProfile(
        buyer=read_party(profile.buyer),
        reference=profile.reference,
        tax=Tax(rate_percent=Decimal(profile.tax_rate_percent or 0), note=profile.tax_note),
        category=CATEGORY_OF.get(profile.tax_category),
        payment_days=profile.payment_days,
        etag=profile.etag,
        reason=request.reason,
    )


def write_profile(profile: BillingProfile) -> invoice_pb2.BillingProfile:
    """Write what is in force."""
    terms = profile.terms
    return invoice_pb2.BillingProfile(
        buyer=write_party(terms.buyer),
        reference=terms.reference,
        tax_rate_percent=write_rate(terms.tax.rate_percent),
        tax_category=CATEGORIES[terms.tax.category],
        tax_note=terms.tax.note,
        payment_days=terms.payment_days,
        etag=profile.etag,
        update_time=write_time(profile.updated_at),
    )


def write_rate(rate_percent: Decimal) -> str:
    """Write a rate without needless zeros."""
    return f"{rate_percent.normalize():f}"


def read_party(party: invoice_pb2.InvoiceParty) -> Party:
    """Read one side of an invoice."""
    return Party(
        legal_name=party.legal_name,
        address=party.address,
        city=party.city,
        postal_code=party.postal_code,
        country=party.country,
        vat_id=party.vat_id,
        email=party.email,
    )


def write_party(party: Party) -> invoice_pb2.InvoiceParty:
    """Write one side of an invoice."""
    return invoice_pb2.InvoiceParty(
        legal_name=party.legal_name,
        address=party.address,
        city=party.city,
        postal_code=party.postal_code,
        country=party.country,
        vat_id=party.vat_id,
        email=party.email,
    )
