"""The command that shows how budgets stand, and which overrides are in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .connection import open_client
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import console, print_json, print_table
from .override_texts import IN_FORCE_COLUMNS, in_force_row, override_document
from .override_texts import NUMBERS as OVERRIDE_NUMBERS
from .override_texts import OPTIONAL as OVERRIDE_OPTIONAL
from .status_table import COLUMNS, NUMBERS, OPTIONAL, budget_row
from .statuses import scopes_of, status_document

if TYPE_CHECKING:
    from gatekeeper_client.v1.gatekeeper_service_pb2 import GetStatusResponse

Names = Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this one and the organization; repeatable.")]


def status(
    *,
    organization: Organization,
    department: Names = None,
    campaign: Names = None,
    agent: Names = None,
    run: Names = None,
    period: Annotated[
        str, typer.Option(help="Such as 2026-11-20, 2026-11 or total.", show_default="the current ones")
    ] = "",
    target: Target = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how budgets stand: cap, spent, held, and what is left; and the overrides in force."""
    scopes = scopes_of(department=department or (), campaign=campaign or (), agent=agent or (), run=run or ())
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        answer = client.get_status(organization, scopes=scopes, period=period)
    if as_json:
        print_json(_document(organization, answer))
    else:
        _print(organization, answer)


def _document(organization: str, answer: GetStatusResponse) -> dict[str, Any]:
    return {
        "organization": organization,
        "can_execute": answer.can_execute,
        "budgets": [status_document(budget) for budget in answer.budgets],
        "overrides": [override_document(override) for override in answer.overrides],
    }


def _print(organization: str, answer: GetStatusResponse) -> None:
    from rich.text import Text

    verdict = Text("can spend", "green") if answer.can_execute else Text("cannot spend", "bold red")
    currency = f", amounts in {answer.budgets[0].cap.currency_code}" if answer.budgets else ""
    console().print(Text.assemble(organization, " ", verdict, currency))
    if answer.budgets:
        print_table(COLUMNS, [budget_row(budget) for budget in answer.budgets], right=NUMBERS, optional=OPTIONAL)
    else:
        console().print("No budget had a balance then.")
    if answer.overrides:
        rows = [in_force_row(override) for override in answer.overrides]
        print_table(IN_FORCE_COLUMNS, rows, right=OVERRIDE_NUMBERS, optional=OVERRIDE_OPTIONAL)
