"""The command that shows how budgets stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .connection import open_client
from .options import AsJson, CaFile, CertificateFile, KeyFile, Organization, Target, TokenFile
from .output import console, print_json, print_table
from .statuses import (
    amount_text,
    enforcement_of,
    scope_text,
    scopes_of,
    status_document,
    tier_of,
    window_of,
)

if TYPE_CHECKING:
    from rich.text import Text

    from gatekeeper_client.v1.budget_pb2 import BudgetStatus
    from gatekeeper_client.v1.gatekeeper_service_pb2 import GetStatusResponse

COLOURS = {"OK": "green", "WARNING": "yellow", "CRITICAL": "red", "EXCEEDED": "bold red"}
BAR_LENGTH = 12
COLUMNS = ("Budget", "Period", "Cap", "Spent", "Held", "Left", "Used", "", "State")
NUMBERS = ("Cap", "Spent", "Held", "Left", "Used")

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
    """Show how budgets stand: cap, spent, held, and what is left."""
    scopes = scopes_of(department=department or (), campaign=campaign or (), agent=agent or (), run=run or ())
    with open_client(
        target, token_file=token_file, ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
    ) as client:
        answer = client.get_status(organization, scopes=scopes, period=period)
    if as_json:
        budgets = [status_document(budget) for budget in answer.budgets]
        print_json({"organization": organization, "can_execute": answer.can_execute, "budgets": budgets})
    else:
        _print(organization, answer)


def _print(organization: str, answer: GetStatusResponse) -> None:
    from rich.text import Text

    verdict = Text("can spend", "green") if answer.can_execute else Text("cannot spend", "bold red")
    currency = f", amounts in {answer.budgets[0].cap.currency_code}" if answer.budgets else ""
    console().print(Text.assemble(organization, " ", verdict, currency))
    if answer.budgets:
        print_table(COLUMNS, [_row(budget) for budget in answer.budgets], right=NUMBERS)
    else:
        console().print("No budget had a balance then.")


def _row(budget: BudgetStatus) -> list[Text]:
    from rich.text import Text

    colour = COLOURS.get(tier_of(budget), "")
    amounts = (budget.cap, budget.spent, budget.reserved, budget.available)
    return [
        Text(f"{scope_text(budget.scope)}, {window_of(budget.window).lower()}"),
        Text(budget.period),
        *(Text(amount_text(amount)) for amount in amounts),
        Text(f"{budget.utilization_percent:.1f} %", colour),
        Text(_bar(budget.utilization_percent), colour),
        Text(_state(budget), colour),
    ]


def _bar(percent: float) -> str:
    """Draw how far a budget is used; full only when it is."""
    filled = min(BAR_LENGTH, int(percent * BAR_LENGTH / 100))
    full, empty = ("█", "░") if console().encoding.startswith("utf") else ("#", ".")
    return full * filled + empty * (BAR_LENGTH - filled)


def _state(budget: BudgetStatus) -> str:
    words = [tier_of(budget)]
    if (enforcement := enforcement_of(budget.enforcement)) != "ENFORCE":
        words.append(f"{enforcement} ({budget.would_deny_count:,} would be denied)")
    if budget.frozen:
        words.append("FROZEN")
    return ", ".join(words)
