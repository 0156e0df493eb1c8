"""What has happened to a budget in a month?"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.domain.budget import Balance, Scope
from gatekeeper.domain.errors import BudgetNotFound
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Window
from gatekeeper.domain.statements import Statement, draw_up
from gatekeeper.storage import budgets
from gatekeeper.storage import statements as storage
from gatekeeper.storage.connections import Pool

from .months import Month, reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A statement of an organization's."""

    organization: Organization
    statement: Statement


class Statements:
    """Reads by a pool of its own, so that no statement holds up the hot path."""

    def __init__(self, reads: Pool) -> None:
        """Read by this pool."""
        self._reads = reads

    async def draw_up(self, organization: str, scope: Scope, period: str) -> Drawn:
        """Return the statement of a scope's monthly budget for a month; the current one when empty.

        Raises `OrganizationNotFound`, `BudgetNotFound` or `PeriodNotOver`.
        """
        async with reading(self._reads, organization, period) as month:
            balance = await _balance(month, scope)
            held = await storage.read_held(month.connection, organization, balance.key, month.bounds)
            executed = await storage.read_executed(month.connection, organization, balance.key, month.recorded())
        statement = draw_up(balance, held.states, executed, (held.above, held.paid), month.read_at)
        return Drawn(organization=month.organization, statement=statement)


async def _balance(month: Month, scope: Scope) -> Balance:
    """Return how the month stands; a month that is over has a balance only if there was a budget then."""
    organization = month.organization.organization
    standings = await budgets.list_budgets(
        month.connection, organization, periods=[month.period], scopes=[scope], limit=len(Window)
    )
    for standing in standings:
        if standing.budget.window is Window.MONTH:
            if standing.balance is not None:
                return standing.balance
            if month.is_current:
                return standing.budget.fresh(month.period)
    raise BudgetNotFound(organization=organization, scope=_name(scope), period=month.period)


def _name(scope: Scope) -> str:
    return f"{scope.kind.lower()} {scope.id!r}" if scope.id else f"the {scope.kind.lower()}"
