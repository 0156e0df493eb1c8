"""What has a month's money gone for? Each answer is from one snapshot of the books, without a lock.

What an answer has was all recorded before its `read_time`, and all that was recorded before that time is in it. Asked
again as of that time, the sums are the same, whatever was recorded meanwhile: so go the pages of a list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gatekeeper.domain.budget import ORGANIZATION, Balance, Scope, ScopeKind
from gatekeeper.domain.forecast import Forecast, of_month
from gatekeeper.domain.invoices import DayTotal
from gatekeeper.domain.periods import Window
from gatekeeper.domain.spend import Comparison, SpendRow, Totals, by_day, compare, month_before, total
from gatekeeper.storage import budgets as budget_rows
from gatekeeper.storage import spend as storage
from gatekeeper.storage.connections import Pool

from .months import Month, reading

# What lists go by, and whose budgets stand beside.
CAMPAIGNS, DEPARTMENTS, AGENTS, MODELS = ("campaign",), ("department",), ("agent", "agent_type"), ("model",)
BUDGETS_OF = {CAMPAIGNS: ScopeKind.CAMPAIGN, DEPARTMENTS: ScopeKind.DEPARTMENT, AGENTS: ScopeKind.AGENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose month (the current one when empty), and what was recorded before when (None: all)."""

    organization: str
    period: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a page ended, and as of when all pages are."""

    read_time: datetime
    cost: Decimal
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A month's spend. `forecasts` are of where it is going, the best first."""

    month: Month
    totals: Totals
    budget: Balance | None
    days: Sequence[DayTotal]
    previous: Comparison
    forecasts: Sequence[Forecast]
    denials: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendPage:
    """A page of a month's spend, the dearest first; what the whole month cost; budgets by scope id."""

    month: Month
    rows: Sequence[SpendRow]
    cost: Decimal
    budgets: Mapping[str, Balance]
    after: Position | None


class Spending:
    """Reads by a pool of its own, so that no report holds up the hot path."""

    def __init__(self, reads: Pool) -> None:
        """Read by this pool."""
        self._reads = reads

    async def summary(self, asked: Asked) -> Summary:
        """Return a month's spend. Raises `OrganizationNotFound`, `PeriodNotOver` or `InvalidField`."""
        async with reading(self._reads, asked.organization, asked.period, as_of=asked.as_of) as month:
            before = month_before(month.period)
            rows = await storage.add_up(month.connection, asked.organization, [month.recorded()], ("day",))
            earlier = [month.recorded(before)]
            rows_before = await storage.add_up_costs(month.connection, asked.organization, earlier, ("day",))
            balances = await _balances(month, [ORGANIZATION])
            denials = await _count_denials(month, asked.as_of)
        budget, totals = balances.get(""), total(rows)
        days, days_before = by_day(rows, month.period, month.today), by_day(rows_before, before, month.today)
        return Summary(
            month=month,
            totals=totals,
            budget=budget._replace(spent=totals.cost) if budget else None,
            days=days,
            previous=compare(days, days_before, month.period, month.today),
            forecasts=_forecasts(month, [*days_before, *days], budget),
            denials=denials,
        )

    async def page(self, asked: Asked, by: tuple[str, ...], after: Position | None, size: int) -> SpendPage:
        """Return a page of CAMPAIGNS, DEPARTMENTS, AGENTS or MODELS behind a position.

        Raises `OrganizationNotFound`, `PeriodNotOver` or `InvalidField`.
        """
        read_time, behind = (None, None) if after is None else (after.read_time, (after.cost, after.key))
        async with reading(self._reads, asked.organization, asked.period, as_of=asked.as_of, after=read_time) as month:
            rows, cost = await storage.list_dearest(
                month.connection, asked.organization, month.recorded(), by, after=behind, limit=size + 1
            )
            budgets = await _budgets(month, by, rows[:size])
        page = rows[:size]
        last = page[-1] if len(rows) > size else None
        return SpendPage(
            month=month,
            rows=page,
            cost=cost,
            budgets=budgets,
            after=last and Position(read_time=month.read_time, cost=last.totals.cost, key=last.key),
        )


async def _budgets(month: Month, by: tuple[str, ...], rows: Sequence[SpendRow]) -> Mapping[str, Balance]:
    """Return the monthly budgets of what is listed, by scope id; of the past, with what was spent then."""
    kind = BUDGETS_OF.get(by)
    if kind is None:
        return {}
    balances = await _balances(month, [Scope(kind, name) for name in {row.key[0] for row in rows} - {""}])
    if not (balances and month.is_past):
        return balances
    organization = month.organization.organization
    sums = await storage.add_up_costs(month.connection, organization, [month.recorded()], by[:1])
    spent = {row.key[0]: row.totals.cost for row in sums}
    return {name: balance._replace(spent=spent[name]) for name, balance in balances.items()}


async def _balances(month: Month, scopes: Sequence[Scope]) -> dict[str, Balance]:
    """Return how monthly budgets stand in the month, by scope id; a past month without a balance was not capped."""
    standings = await budget_rows.list_budgets(
        month.connection,
        month.organization.organization,
        periods=[month.period],
        scopes=scopes,
        limit=len(Window) * len(scopes),
    )
    found = {}
    for standing in standings:
        budget = standing.budget
        balance = standing.balance or (budget.fresh(month.period) if month.is_current else None)
        if budget.window is Window.MONTH and balance is not None:
            found[budget.scope.id] = balance
    return found


async def _count_denials(month: Month, as_of: datetime | None) -> int:
    """Count the denials of the month by the organization's calendar, up to the time that is asked for."""
    bounds = month.bounds
    until = bounds.end if as_of is None else min(bounds.end, as_of)
    return await storage.count_denials(month.connection, month.organization.organization, bounds.start, until)


def _forecasts(month: Month, days: Sequence[DayTotal], budget: Balance | None) -> Sequence[Forecast]:
    """Return where the month is going, from its days and those of the month before; nothing of one that is over."""
    if not month.today.isoformat().startswith(month.period):
        return ()
    return of_month({day.day: day.cost for day in days}, month.today, budget.cap if budget else None)
