"""What is a month's report about? All figures of it, as they stood at one instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from .budget import Balance, BalanceKey
from .evidence import CallerHolds, HoldAccuracy, Recommendation
from .forecast import Forecast
from .money import ZERO
from .organization import Organization
from .spend import SpendRow, Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class DeniedCalls:
    """Calls that were denied for the same reason by the same budget (None: by none)."""

    reason: str
    key: BalanceKey | None
    calls: int
    requested: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedOverride:
    """An override that paid for a part of the month's cost."""

    override_id: str
    reason: str
    granted_by: str
    calls: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthFigures:
    """A month. Rows of spend come with the dearest first; `previous_days` are of the month before.

    `denials` has the reasons and budgets with the most calls of all `denied`. `forecasts` are of a month that is not
    over.
    """

    organization: Organization
    period: str
    read_at: datetime
    today: date
    days: Mapping[str, Totals]
    previous_days: Mapping[str, Totals]
    balances: Sequence[Balance]
    campaigns: Sequence[SpendRow]
    departments: Sequence[SpendRow]
    agents: Sequence[SpendRow]
    agent_types: Sequence[SpendRow]
    models: Sequence[SpendRow]
    overrides: Sequence[UsedOverride]
    denied: int
    denials: Sequence[DeniedCalls]
    callers: Sequence[CallerHolds]
    accuracy: Sequence[HoldAccuracy]
    forecasts: Sequence[Forecast]
    recommendations: Sequence[Recommendation]

    @property
    def spend(self) -> Totals:
        """What the month comes to."""
        return added(self.days.values())

    @property
    def previous(self) -> Totals:
        """What the month before came to."""
        return added(self.previous_days.values())

    @property
    def is_over(self) -> bool:
        """Tell whether no day of it is to come."""
        return self.today.isoformat()[:7] > self.period

    @property
    def calendar(self) -> Sequence[date]:
        """The days of the month, up to today."""
        days, day = [], date.fromisoformat(f"{self.period}-01")
        while day.isoformat()[:7] == self.period and day <= self.today:
            days.append(day)
            day += timedelta(days=1)
        return days

    def cost_on(self, day: date) -> Decimal:
        """Return what a day has cost."""
        totals = self.days.get(day.isoformat())
        return totals.cost if totals else ZERO


def added(several: Iterable[Totals]) -> Totals:
    """Add totals up."""
    names = [field.name for field in fields(Totals)]
    sums: dict[str, Any] = {name: getattr(Totals(), name) for name in names}
    for totals in several:
        for name in names:
            sums[name] += getattr(totals, name)
    return Totals(**sums)
