"""The commands that let calls past their caps, for so much money and time."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from gatekeeper.domain.overrides import OverrideState

from .connection import open_client
from .durations import read_ttl
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile, amount_option
from .output import print_json, print_table
from .override_options import Amount, Id, Name, Reason, Reservation, Ttl, calls, ttl_field
from .override_texts import COLUMNS, NUMBERS, OPTIONAL, made_text, override_document, override_row

if TYPE_CHECKING:
    from gatekeeper_client import fields
    from gatekeeper_client.v1.override_pb2 import Override

LIMIT_DEFAULT = 100
PAGE_SIZE_MAX = 1000
OFF_REASON = "turned off at the command line"

app = typer.Typer(help="Let calls past their caps, for so much money and time.", rich_markup_mode=None)


@app.command()
def on(
    *,
    amount: Amount,
    organization: Organization,
    reason: Reason,
    department: Name = "",
    campaign: Name = "",
    agent: Name = "",
    run: Name = "",
    reservation: Reservation = "",
    ttl: Ttl = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let calls spend up to AMOUNT past their caps, at once and in every server.

    It lets them past all caps and floors in the way, a campaign's calls past
    the organization's cap too; a frozen budget stays frozen. Above an amount
    that the server may set, it waits for a second admin.
    """
    asked = calls(department, campaign, agent, run, reservation) | ttl_field(ttl)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        made = client.set_override(organization, enabled=True, max_amount=amount, reason=reason, **asked).override
    _tell(made, as_json=as_json)


@app.command()
def off(
    *,
    override_id: Annotated[
        str, typer.Argument(metavar="OVERRIDE", help="Its id; else all for these calls.", show_default=False)
    ] = "",
    organization: Organization,
    department: Name = "",
    campaign: Name = "",
    agent: Name = "",
    run: Name = "",
    reservation: Reservation = "",
    reason: Annotated[str, typer.Option(help="Why, for those who read the history.")] = OFF_REASON,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """End one override, or all for these calls: those of the organization unless told.

    The next call in every server stops at its caps again. What is held under
    them stays held.
    """
    asked = calls(department, campaign, agent, run, reservation)
    if override_id and asked:
        message = "give either OVERRIDE or the calls that it is for"
        raise typer.BadParameter(message)
    if override_id:
        asked = {"override_id": override_id}
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        answer = client.set_override(organization, enabled=False, reason=reason, **asked)
    ended = list(answer.ended) or ([answer.override] if answer.HasField("override") else [])
    if as_json:
        print_json({"organization": organization, "overrides": [override_document(override) for override in ended]})
    else:
        typer.echo("\n".join(map(made_text, ended)) or "There was no such override to end.")


@app.command("list")
def list_overrides(
    *,
    organization: Organization,
    state: Annotated[
        OverrideState | None,
        typer.Option(
            metavar="|".join(OverrideState).lower(), case_sensitive=False, help="Only those.", show_default="all"
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = LIMIT_DEFAULT,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List overrides, newest first: what each has cost, what is left, who made it and who used it."""
    which: fields.Overrides = {"page_size": min(limit, PAGE_SIZE_MAX)}
    if state is not None:
        which["state"] = state.value
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        found = list(islice(client.list_overrides(organization, **which), limit))
    if as_json:
        print_json({"organization": organization, "overrides": [override_document(override) for override in found]})
    elif found:
        print_table(COLUMNS, [override_row(override) for override in found], right=NUMBERS, optional=OPTIONAL)
    else:
        typer.echo("There is no such override.")


@app.command()
def request(
    *,
    amount: Amount,
    organization: Organization,
    reason: Reason,
    department: Name = "",
    campaign: Name = "",
    agent: Name = "",
    run: Name = "",
    reservation: Reservation = "",
    ttl: Ttl = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask the admins for an override. Agents may; an alert tells the admins of it.

    Approved, it lasts for the given time from then on.
    """
    asked = calls(department, campaign, agent, run, reservation) | ttl_field(ttl)
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        made = client.request_override(organization, max_amount=amount, reason=reason, **asked).override
    _tell(made, as_json=as_json)


@app.command()
def approve(
    *,
    override_id: Id,
    organization: Organization,
    reason: Reason,
    amount: Annotated[Decimal | None, amount_option("Less than what was asked for.")] = None,
    ttl: Annotated[
        timedelta | None,
        typer.Option(metavar="TIME", parser=read_ttl, help="How long it lasts.", show_default="as asked for"),
    ] = None,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Put an override in force that waits for it: a request, or one that needs a second admin."""
    asked = ttl_field(ttl) | ({} if amount is None else {"max_amount": amount})
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        approved = client.set_override(organization, override_id=override_id, enabled=True, reason=reason, **asked)
    _tell(approved.override, as_json=as_json)


@app.command()
def decline(
    *,
    override_id: Id,
    organization: Organization,
    reason: Reason,
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Refuse an override that waits for approval. One that is in force ends."""
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        answer = client.set_override(organization, override_id=override_id, enabled=False, reason=reason)
    _tell(answer.override, as_json=as_json)


def _tell(override: Override, *, as_json: bool) -> None:
    if as_json:
        print_json(override_document(override))
    else:
        typer.echo(made_text(override))
