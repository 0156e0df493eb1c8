"""The command that shows or changes what invoices say of the buyer, of tax and of payment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatekeeper.domain.invoices import TaxCategory

from .connection import open_client
from .invoice_texts import profile_document
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import print_json, print_table, shown

if TYPE_CHECKING:
    from gatekeeper_client import BillingProfile


def billing(
    *,
    organization: Organization,
    legal_name: Annotated[str | None, typer.Option(help="Who is billed.", show_default=False)] = None,
    address: Annotated[str | None, typer.Option(help="Street and number; lines.", show_default=False)] = None,
    city: Annotated[str | None, typer.Option(show_default=False)] = None,
    postal_code: Annotated[str | None, typer.Option(show_default=False)] = None,
    country: Annotated[str | None, typer.Option(help="As ISO 3166-1 has it, like DE.", show_default=False)] = None,
    vat_id: Annotated[str | None, typer.Option(help="With its country, DE123456789.", show_default=False)] = None,
    email: Annotated[str | None, typer.Option(help="Where to write to.", show_default=False)] = None,
    reference: Annotated[str | None, typer.Option(help="The buyer's order number.", show_default=False)] = None,
    tax_category: Annotated[
        TaxCategory | None,
        typer.Option(
            metavar="CATEGORY",
            case_sensitive=False,
            help=f"One of {', '.join(TaxCategory).lower()}.",
            show_default=False,
        ),
    ] = None,
    tax_rate: Annotated[
        str | None, typer.Option(metavar="PERCENT", help="For standard, like 19.", show_default=False)
    ] = None,
    tax_note: Annotated[
        str | None, typer.Option(help="Why no tax is charged, for exempt and reverse_charge.", show_default=False)
    ] = None,
    payment_days: Annotated[
        int | None, typer.Option(min=0, max=365, help="Days until an invoice is due.", show_default=False)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it changes, for the audit trail.")] = "",
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what an organization's invoices say of the buyer and of tax, or change it.

    What is not named stays. Invoices that were issued stay as they are.
    """
    buyer = {
        "legal_name": legal_name,
        "address": address,
        "city": city,
        "postal_code": postal_code,
        "country": country,
        "vat_id": vat_id,
        "email": email,
    }
    terms = {
        "reference": reference,
        "tax_category": _category(tax_category),
        "tax_rate_percent": _rate(tax_rate, tax_category),
        "tax_note": tax_note,
        "payment_days": payment_days,
    }
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        profile = client.get_billing_profile(organization).profile
        if any(value is not None for value in (*buyer.values(), *terms.values())):
            _merge(profile, buyer, terms)
            profile = client.set_billing_profile(organization, profile, reason=reason).profile
    if as_json:
        print_json({"organization": organization, **profile_document(profile)})
    else:
        rows = [[name, shown(f"{value}")] for name, value in profile_document(profile).items()]
        print_table(("Field", "Value"), rows)


def _rate(tax_rate: str | None, category: TaxCategory | None) -> str | None:
    """Return the rate; with a category that has none, none."""
    if tax_rate is None and category not in (None, TaxCategory.STANDARD):
        return "0"
    return tax_rate


def _merge(profile: BillingProfile, buyer: dict[str, Any], terms: dict[str, Any]) -> None:
    """Put what is named into a profile."""
    for message, given in ((profile.buyer, buyer), (profile, terms)):
        for name, value in given.items():
            if value is not None:
                setattr(message, name, value)


def _category(category: TaxCategory | None) -> int | None:
    from gatekeeper_client.v1 import invoice_pb2

    return None if category is None else invoice_pb2.TaxCategory.Value(f"TAX_CATEGORY_{category}")
