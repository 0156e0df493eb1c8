"""How are billing profiles read and changed? One row for an organization, by its primary key."""

from __future__ import annotations

from gatekeeper.domain.billing_profiles import BillingProfile, unset
from gatekeeper.domain.invoices import Party, Tax, TaxCategory, Terms

from .connections import Connection, first

BUYER = ("legal_name", "address", "city", "postal_code", "country", "vat_id", "email")
COLUMNS = (*BUYER, "reference", "tax_category", "tax_rate_percent", "tax_note", "payment_days", "revision")

# Reads the profile of an organization. No lock.
FIND = f"SELECT {', '.join(COLUMNS)}, updated_at FROM billing_profiles WHERE organization = %s"

# Writes a profile, all of it. Under the organization's lock, so that nobody else changes it meanwhile.
WRITE = f"""
INSERT INTO billing_profiles (organization, {", ".join(COLUMNS)}, updated_at)
VALUES (%s, {", ".join(["%s"] * len(COLUMNS))}, clock_timestamp())
ON CONFLICT (organization) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS, "updated_at"))}
RETURNING updated_at
"""


async def find_profile(connection: Connection, organization: str) -> BillingProfile:
    """Return what is in force; the defaults where nothing was set."""
    row = await (await connection.execute(FIND, (organization,))).fetchone()
    if row is None:
        return unset(organization)
    *buyer, reference, category, rate, note, payment_days, revision, updated_at = row
    return BillingProfile(
        terms=Terms(
            buyer=Party(**dict(zip(BUYER, buyer, strict=True))),
            reference=reference,
            tax=Tax(category=TaxCategory(category), rate_percent=rate.normalize(), note=note),
            payment_days=payment_days,
        ),
        revision=revision,
        updated_at=updated_at,
    )


async def write_profile(connection: Connection, organization: str, profile: BillingProfile) -> BillingProfile:
    """Write a profile; return it with its time."""
    terms, tax = profile.terms, profile.terms.tax
    values = (
        *(getattr(terms.buyer, name) for name in BUYER),
        terms.reference,
        tax.category,
        tax.rate_percent,
        tax.note,
        terms.payment_days,
        profile.revision,
    )
    cursor = await connection.execute(WRITE, (organization, *values))
    return BillingProfile(terms=terms, revision=profile.revision, updated_at=first(await cursor.fetchone()))
