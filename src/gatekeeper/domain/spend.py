"""What are executions added up to, and what follows from the sums?"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from operator import add, attrgetter
from typing import NamedTuple

from .invoices import DayTotal
from .money import EXACT, NANO, ZERO

HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Executions, added up.

    `entries` are rows of the billing log; a call that was charged on expiry and committed later has three. Amounts are
    exact. The sums of scores are of so many calls as have one; so are latencies.
    """

    entries: int = 0
    calls: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    unknown: int = 0
    cost: Decimal = ZERO
    late_amount: Decimal = ZERO
    reserved_amount: Decimal = ZERO
    overage_amount: Decimal = ZERO
    override_amount: Decimal = ZERO
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    conversions: int = 0
    revenue: Decimal = ZERO
    quality_sum: float = 0
    quality_scores: int = 0
    impact_sum: float = 0
    impact_scores: int = 0
    latency_sum: timedelta = timedelta()
    latencies: int = 0

    @property
    def cost_per_call(self) -> Decimal | None:
        """Cost ÷ calls, to the nano; None without calls."""
        return per(self.cost, self.calls)

    @property
    def cost_per_conversion(self) -> Decimal | None:
        """Cost ÷ conversions, to the nano; None without conversions."""
        return per(self.cost, self.conversions)

    @property
    def success_rate_percent(self) -> float | None:
        """The share of calls that went well, of those of which somebody said how they went; None where nobody did."""
        told = self.succeeded + self.failed + self.cancelled
        return 100 * self.succeeded / told if told > 0 else None

    @property
    def return_on_spend(self) -> float | None:
        """Revenue ÷ cost; None without cost."""
        return float(self.revenue / self.cost) if self.cost > 0 else None

    @property
    def quality_score(self) -> float | None:
        """The mean of the calls that have one."""
        return self.quality_sum / self.quality_scores if self.quality_scores else None

    @property
    def impact_score(self) -> float | None:
        """The mean of the calls that have one."""
        return self.impact_sum / self.impact_scores if self.impact_scores else None

    @property
    def latency(self) -> timedelta | None:
        """The mean of the calls that have one."""
        return self.latency_sum / self.latencies if self.latencies else None


class SpendRow(NamedTuple):
    """What executions of the same kind come to. `key` has the columns that they were grouped by, in their order."""

    key: tuple[str, ...]
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the month before has cost: all of it, and up to the same day of the month."""

    period: str
    cost: Decimal
    cost_to_same_day: Decimal
    change_percent: float | None


def per(amount: Decimal, count: int) -> Decimal | None:
    """Return an amount ÷ a count, to the nano; None where there is nothing to divide by."""
    return EXACT.divide(amount, Decimal(count)).quantize(NANO, context=EXACT) if count > 0 else None


def share_percent(part: Decimal, whole: Decimal) -> float:
    """Return what part of a whole it is, in percent; 0 of nothing."""
    return float(HUNDRED * part / whole) if whole else 0.0


def total(rows: Iterable[SpendRow]) -> Totals:
    """Return what rows come to together."""
    found = [Totals(), *(row.totals for row in rows)]
    names = [field.name for field in fields(Totals)]
    return Totals(**{name: reduce(add, map(attrgetter(name), found)) for name in names})


def days_in(period: str) -> int:
    """Return how many days a month has."""
    first = date.fromisoformat(f"{period}-01")
    return monthrange(first.year, first.month)[1]


def month_before(period: str) -> str:
    """Return the month before."""
    return f"{date.fromisoformat(f'{period}-01') - timedelta(days=1):%Y-%m}"


def by_day(rows: Iterable[SpendRow], period: str, today: date) -> Sequence[DayTotal]:
    """Return the days of a month up to `today`, those without a call too. The rows are its days."""
    found: Mapping[str, Totals] = {row.key[0]: row.totals for row in rows}
    days = {f"{period}-{number:02}" for number in range(1, days_in(period) + 1)}
    until = today.isoformat()
    return [
        DayTotal(day=day, calls=totals.calls, cost=totals.cost)
        for day in sorted({day for day in days if day <= until} | found.keys())
        for totals in (found.get(day, Totals()),)
    ]


def compare(days: Sequence[DayTotal], before: Sequence[DayTotal], period: str, today: date) -> Comparison:
    """Compare the days of a month with those of the one before: day for day while it lasts, and as a whole then."""
    is_over = today.isoformat()[:7] > period
    same_day = "99" if is_over else f"{today.day:02}"
    cost = sum(map(attrgetter("cost"), days), ZERO)
    to_same_day = sum((day.cost for day in before if day.day[-2:] <= same_day), ZERO)
    return Comparison(
        period=month_before(period),
        cost=sum(map(attrgetter("cost"), before), ZERO),
        cost_to_same_day=to_same_day,
        change_percent=float(HUNDRED * (cost - to_same_day) / to_same_day) if to_same_day > 0 else None,
    )
