"""How does a table of budgets look on a terminal?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import console
from .statuses import amount_text, enforcement_of, floors_of, floors_text, scope_text, tier_of, window_of

if TYPE_CHECKING:
    from rich.text import Text

    from gatekeeper_client.v1.budget_pb2 import BudgetStatus

COLOURS = {"OK": "green", "WARNING": "yellow", "CRITICAL": "red", "EXCEEDED": "bold red"}
BAR_LENGTH = 12
COLUMNS = ("Budget", "Period", "Cap", "Spent", "Held", "Left", "Used", "", "State")
NUMBERS = ("Cap", "Spent", "Held", "Left", "Used")
OPTIONAL = ("", "Held", "Used", "Period")


def budget_row(budget: BudgetStatus) -> list[Text]:
    """Return the COLUMNS of a budget, coloured by its tier."""
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
    if budget.overridden.units or budget.overridden.nanos:
        words.append(f"{amount_text(budget.overridden)} by overrides")
    if floors := floors_of(budget):
        words.append(floors_text(floors))
    return ", ".join(words)
