"""The command that shows how budgets stand, and which overrides are in force."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .connection import open_client
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import console, print_json, print_table
from .override_texts import IN_FORCE_COLUMNS, in_force_row, override_document
from .override_texts import NUMBERS as OVERRIDE_NUMBERS
from .status_table import COLUMNS, NUMBERS, budget_row
from .statuses import floors_of, scopes_of, status_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatekeeper_client import Client
    from gatekeeper_client.v1.budget_pb2 import Budget, BudgetStatus
    from gatekeeper_client.v1.gatekeeper_service_pb2 import GetStatusResponse

    # By scope and window; without those that the caller may not see.
    Floors = Mapping[tuple[int, str, int], dict[str, int]]

# As many budgets as a status shows: one page.
BUDGETS_MAX = 1000

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
        floors = _floors(client, organization)
    if as_json:
        print_json(_document(organization, answer, floors))
    else:
        _print(organization, answer, floors)


def _floors(client: Client, organization: str) -> Floors:
    """Return where calls of lesser priorities stop. Agents, who may not list budgets, see none."""
    from gatekeeper_client import PermissionDenied

    try:
        budgets = list(islice(client.list_budgets(organization, page_size=BUDGETS_MAX), BUDGETS_MAX))
    except PermissionDenied:
        return {}
    return {_key(budget): floors_of(budget) for budget in budgets}


def _key(budget: Budget | BudgetStatus) -> tuple[int, str, int]:
    return budget.scope.kind, budget.scope.id, budget.window


def _document(organization: str, answer: GetStatusResponse, floors: Floors) -> dict[str, Any]:
    return {
        "organization": organization,
        "can_execute": answer.can_execute,
        "budgets": [status_document(budget) | {"floors": floors.get(_key(budget))} for budget in answer.budgets],
        "overrides": [override_document(override) for override in answer.overrides],
    }


def _print(organization: str, answer: GetStatusResponse, floors: Floors) -> None:
    from rich.text import Text

    verdict = Text("can spend", "green") if answer.can_execute else Text("cannot spend", "bold red")
    currency = f", amounts in {answer.budgets[0].cap.currency_code}" if answer.budgets else ""
    console().print(Text.assemble(organization, " ", verdict, currency))
    if answer.budgets:
        rows = [budget_row(budget, floors.get(_key(budget))) for budget in answer.budgets]
        print_table(COLUMNS, rows, right=NUMBERS)
    else:
        console().print("No budget had a balance then.")
    if answer.overrides:
        print_table(IN_FORCE_COLUMNS, [in_force_row(override) for override in answer.overrides], right=OVERRIDE_NUMBERS)
