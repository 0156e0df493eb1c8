"""What is there to say of a month? Its figures, all of one snapshot, and what would save money by them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from gatekeeper.domain.budget import Balance, ScopeKind
from gatekeeper.domain.evidence import CampaignOutlook, Evidence, Recommendation
from gatekeeper.domain.forecast import Forecast, of_month
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.month_figures import MonthFigures, UsedOverride, added
from gatekeeper.domain.periods import Window
from gatekeeper.domain.recommendations import recommend
from gatekeeper.domain.spend import SpendRow, Totals, month_before
from gatekeeper.storage import budgets
from gatekeeper.storage import month_report as storage
from gatekeeper.storage.connections import Pool
from gatekeeper.storage.spend import add_up

from .markdown_report import write_report
from .months import Month, current_month, reading

# Budgets of one kind that are looked at; an organization with more has them in ListBudgets.
BUDGETS_MAX = 1000
MONTH_DAYS_MAX = 31
SHOWN_KINDS = (ScopeKind.ORGANIZATION, ScopeKind.DEPARTMENT, ScopeKind.CAMPAIGN)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyReport:
    """A month's report, and what it recommends."""

    currency: str
    period: str
    markdown: str
    recommendations: Sequence[Recommendation]


class MonthlyReports:
    """Reads by a pool of its own, so that no report holds up the hot path."""

    def __init__(self, reads: Pool) -> None:
        """Read by this pool."""
        self._reads = reads

    async def report(self, organization: str, period: str) -> MonthlyReport:
        """Return the report of a month; of the last one when empty.

        Raises `OrganizationNotFound`, `PeriodNotOver` or `InvalidField`.
        """
        figures = await self.figures(organization, period)
        return MonthlyReport(
            currency=figures.organization.currency,
            period=figures.period,
            markdown=write_report(figures),
            recommendations=figures.recommendations,
        )

    async def figures(self, organization: str, period: str) -> MonthFigures:
        """Return what the report says. Raises what `report` does."""
        async with reading(self._reads, organization, period, last=True) as month:
            return await _figures(month)


async def _figures(month: Month) -> MonthFigures:
    connection, organization = month.connection, month.organization.organization
    bounds, recorded = month.bounds, month.recorded()
    days = await _spend(month, "day")
    previous = await add_up(connection, organization, [month.recorded(month_before(month.period))], ["day"])
    agents = await _spend(month, "agent", "agent_type")
    pairs = await _spend(month, "agent_type", "model")
    denied, denials = await storage.read_denials(connection, organization, bounds)
    callers = await storage.read_callers(connection, organization, month.period, bounds)
    accuracy = await storage.read_accuracy(connection, organization, recorded, bounds)
    evidence = Evidence(
        currency=month.organization.currency,
        models={(row.key[0], row.key[1]): row.totals for row in pairs},
        agents={(row.key[0], row.key[1]): row.totals for row in agents},
        failed_costs=await storage.read_failed_costs(connection, organization, recorded, bounds),
        accuracy=accuracy,
        callers=callers,
        outlooks=await _outlooks(month),
    )
    balances = await _balances(month)
    figures = MonthFigures(
        organization=month.organization,
        period=month.period,
        read_at=month.read_at,
        today=month.today,
        days={row.key[0]: row.totals for row in days},
        previous_days={row.key[0]: row.totals for row in previous},
        balances=balances,
        campaigns=await _spend(month, "campaign"),
        departments=await _spend(month, "department"),
        agents=agents,
        agent_types=_by_one(pairs, 0),
        models=_by_one(pairs, 1),
        overrides=await _overrides(month),
        denied=denied,
        denials=denials,
        callers=callers,
        accuracy=accuracy,
        forecasts=(),
        recommendations=recommend(evidence),
    )
    return replace(figures, forecasts=_forecasts(figures))


async def _spend(month: Month, *by: str) -> Sequence[SpendRow]:
    """Return what the month comes to by some columns, the dearest first."""
    found = await add_up(month.connection, month.organization.organization, [month.recorded()], by)
    return sorted(found, key=lambda row: (-row.totals.cost, row.key))


def _by_one(rows: Iterable[SpendRow], index: int) -> Sequence[SpendRow]:
    """Add rows up by one of their columns, the dearest first."""
    groups: dict[str, list[Totals]] = {}
    for row in rows:
        groups.setdefault(row.key[index], []).append(row.totals)
    summed = [SpendRow((name,), added(several)) for name, several in groups.items()]
    return sorted(summed, key=lambda row: (-row.totals.cost, row.key))


async def _balances(month: Month) -> Sequence[Balance]:
    """Return how the monthly budgets stand, the organization's first."""
    balances = []
    for kind in SHOWN_KINDS:
        for standing in await budgets.list_budgets(
            month.connection,
            month.organization.organization,
            periods=[month.period],
            kind=kind,
            limit=BUDGETS_MAX,
        ):
            if standing.budget.window is Window.MONTH:
                fresh = standing.budget.fresh(month.period) if month.is_current else None
                balances.append(standing.balance or fresh)
    return [balance for balance in balances if balance is not None]


async def _overrides(month: Month) -> Sequence[UsedOverride]:
    used = [row for row in await _spend(month, "override_id") if row.key[0] and row.totals.override_amount]
    told = await storage.read_overrides(month.connection, month.organization.organization, [row.key[0] for row in used])
    return [
        UsedOverride(
            override_id=row.key[0],
            reason=told.get(row.key[0], ("", ""))[0],
            granted_by=told.get(row.key[0], ("", ""))[1],
            calls=row.totals.calls,
            amount=row.totals.override_amount,
        )
        for row in sorted(used, key=lambda row: (-row.totals.override_amount, row.key))
    ]


def _forecasts(figures: MonthFigures) -> Sequence[Forecast]:
    """Return where the month is going."""
    if figures.is_over:
        return ()
    costs = {day: totals.cost for day, totals in ({**figures.previous_days, **figures.days}).items()}
    caps = [balance.cap for balance in figures.balances if balance.key.scope.kind is ScopeKind.ORGANIZATION]
    return of_month(costs, figures.today, caps[0] if caps else None)


async def _outlooks(month: Month) -> Sequence[CampaignOutlook]:
    """Return where campaigns are going in the current month, for the report of that one or the one before."""
    current = current_month(month.today)
    if month.period not in {current, month_before(current)}:
        return ()
    organization = month.organization.organization
    standings = await budgets.list_budgets(
        month.connection, organization, periods=[current], kind=ScopeKind.CAMPAIGN, limit=BUDGETS_MAX
    )
    caps = {s.budget.scope.id: s.budget.cap for s in standings if s.budget.window is Window.MONTH}
    if not caps:
        return ()
    spans = [month.recorded(current), month.recorded(month_before(current))]
    daily: dict[str, dict[str, Decimal]] = {}
    for (campaign, day), totals in _by_key(await add_up(month.connection, organization, spans, ["campaign", "day"])):
        daily.setdefault(campaign, {})[day] = totals.cost
    found = []
    for campaign, cap in sorted(caps.items()):
        costs = daily.get(campaign, {})
        if _may_exhaust(costs, month.today, cap):
            forecast = of_month(costs, month.today, cap)[0]
            found.append(CampaignOutlook(campaign=campaign, cap=cap, forecast=forecast, first_day=month.today))
            # Each takes some milliseconds, in which no call is answered.
            await asyncio.sleep(0)
    return found


def _may_exhaust(costs: Mapping[str, Decimal], today: date, cap: Decimal) -> bool:
    """Tell whether a cap could be used up by twice the dearest day from now on: else nothing has to be foretold."""
    month = today.isoformat()[:7]
    spent = sum((cost for day, cost in costs.items() if day[:7] == month), ZERO)
    return bool(costs) and spent + 2 * MONTH_DAYS_MAX * max(costs.values()) >= cap


def _by_key(found: Iterable[SpendRow]) -> Iterable[tuple[tuple[str, str], Totals]]:
    return (((row.key[0], row.key[1]), row.totals) for row in found)
