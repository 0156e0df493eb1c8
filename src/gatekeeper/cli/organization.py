"""The command that opens an organization, or changes its terms."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatekeeper.domain.money import plain

from .actor import actor
from .options import (
    AsJson,
    DatabaseUrl,
    DataDir,
    Organization,
    PgBin,
    amount_option,
    fail_cleanly,
    settings_of,
)
from .output import print_json

if TYPE_CHECKING:
    from gatekeeper.services.organizations import Opened, Terms
    from gatekeeper.services.tokens import FirstToken
    from gatekeeper.settings import Settings


class ExpiryPolicyName(StrEnum):
    """What becomes of the money of a hold that expires."""

    RELEASE = "release"
    CHARGE = "charge"


def init(
    *,
    organization: Organization,
    monthly_budget: Annotated[
        Decimal | None, amount_option("Cap of each month; a new organization gets 1000 unless the settings differ.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="Such as EUR.", show_default="stays; USD when new")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Whose midnight ends a day.", show_default="stays; UTC when new")
    ] = None,
    expiry_policy: Annotated[
        ExpiryPolicyName | None,
        typer.Option(
            case_sensitive=False,
            help="Whether the money of a hold that expires is free again or counts as spent.",
            show_default="stays; release when new",
        ),
    ] = None,
    known_scopes: Annotated[
        bool | None,
        typer.Option(
            "--known-scopes/--no-known-scopes",
            help="Whether departments, campaigns and agents must have a budget to be served.",
            show_default="stays; no when new",
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    pg_bin: PgBin = None,
    as_json: AsJson = False,
) -> None:
    """Open an organization, or change its terms. The same again changes nothing.

    Where no operator has a token in force, one is made, and put in a file.
    """
    with fail_cleanly():
        from gatekeeper.domain.reservation import ExpiryPolicy
        from gatekeeper.services.organizations import Terms

        settings = settings_of(database_url=database_url, data_dir=data_dir, pg_bin=pg_bin)
        terms = Terms(
            monthly_budget=monthly_budget,
            currency=currency,
            time_zone=time_zone,
            expiry_policy=ExpiryPolicy[expiry_policy.name] if expiry_policy else None,
            known_scopes=known_scopes,
        )
        opened, first = asyncio.run(_open_or_change(settings, organization, terms))
    if as_json:
        print_json(_document(opened) | {"operator_token_file": str(first.path) if first.is_new else None})
        return
    typer.echo(_text(opened))
    if first.is_new:
        typer.echo(f"The operator's token is in {first.path}; only you can read it.")


async def _open_or_change(settings: Settings, organization: str, terms: Terms) -> tuple[Opened, FirstToken]:
    from gatekeeper.database import audit_key, token_file
    from gatekeeper.services.organizations import open_or_change
    from gatekeeper.services.tokens import ensure_operator

    from .database import ledger

    async with ledger(settings) as pool:
        who, key = actor(), audit_key(settings)
        # The folder of the embedded database is also where the token of another one goes, unless told otherwise.
        is_other = settings.database_url is not None
        first = await ensure_operator(pool, token_file(settings), who, key, keeps_foreign=is_other)
        opened = await open_or_change(
            pool, organization, terms, default_budget=settings.monthly_budget, actor=who, key=key
        )
        return opened, first


def _document(opened: Opened) -> dict[str, Any]:
    organization = opened.organization
    return {
        "organization": organization.organization,
        "is_new": opened.is_new,
        "monthly_budget": plain(opened.budget.cap),
        "currency": organization.currency,
        "time_zone": organization.time_zone,
        "expiry_policy": organization.expiry_policy,
        "known_scopes": organization.known_scopes,
        "price_version": organization.price_version,
    }


def _text(opened: Opened) -> str:
    organization = opened.organization
    scopes = "only with a budget" if organization.known_scopes else "any"
    return (
        f"{organization.organization} {'is open' if opened.is_new else 'stands'}:\n"
        f"  monthly budget  {plain(opened.budget.cap)} {organization.currency}\n"
        f"  time zone       {organization.time_zone}\n"
        f"  expiry policy   {organization.expiry_policy.lower()}\n"
        f"  scopes          {scopes}"
    )
