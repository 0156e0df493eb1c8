"""What will a month have cost when it ends? An estimate by each of two methods, with an interval, best fitting first.

The run rate lets the mean day go on: that of whole weeks where there is one, four of them at most, so that a weekend
weighs what it should. Damped Holt follows the level and the trend of the days, and their weekdays from three weeks on.
Which of them fits better is told by how far each would have been off from day to day, counting what it takes to fit.

A worked example. A month of 30 days, of which 20 are over at 10.00 each, and 3.00 are spent on the 21st so far::

    run rate     10 days are not over, the 21st among them: 200.00 + 10 * 10.00 = 300.00
    cap 250.00   used up on the fifth of them, the 25th

Intervals take the days to come to vary as those so far did. Estimates are counted in floats (see `smoothing`), and
rounded to the nano; what is spent stays exact, and no estimate is below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import accumulate
from math import sqrt
from statistics import NormalDist, fmean

from .money import EXACT, NANO, ZERO
from .smoothing import WEEK, Fitted, fit
from .spend import month_before

CONFIDENCE_PERCENT = 80
# What is further back says little of the days to come, and every day costs time.
DAYS_MAX = 56
RUN_RATE_DAYS_MAX = 28
# Fewer days have a trend by chance, and fewer weeks a season.
HOLT_DAYS_MIN = 8
SEASON_DAYS_MIN = 21

_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE_PERCENT / 200)


class ForecastMethod(StrEnum):
    """How a forecast is made."""

    RUN_RATE = "RUN_RATE"
    DAMPED_HOLT = "DAMPED_HOLT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a month will have cost: `projected`, between `low` and `high` with `confidence_percent`.

    `exhausted_in` is on which of the days to come the cap is used up, 0 for the first of them, or before; None where it
    lasts, or there is none. `days_observed` are the whole days it was made from.
    """

    method: ForecastMethod
    projected: Decimal
    low: Decimal
    high: Decimal
    confidence_percent: int = CONFIDENCE_PERCENT
    days_observed: int
    exhausted_in: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outlook:
    """The days to come by one method; `deviation` of their sum, and what a day was off, squared, on average."""

    method: ForecastMethod
    ahead: Sequence[float]
    deviation: float
    days_observed: int
    freedom: int
    variance: float


def forecasts(
    daily: Sequence[Decimal], *, remaining_days: int, spent: Decimal, today: Decimal = ZERO, cap: Decimal | None = None
) -> Sequence[Forecast]:
    """Return forecasts of a month, the best fitting first; none without a whole day, or for a month that is over.

    `daily` is what whole days have cost, the oldest first, without gaps up to yesterday; they may reach back into
    earlier months, and those before the first that cost anything are left out. `remaining_days` are the days of the
    month that are not over: today, and those to come. `spent` is what the month has cost, `today` the part of it that
    is today's.
    """
    if not daily or remaining_days < 1:
        return ()
    days = _observed(daily)
    outlooks = [_run_rate(days, remaining_days)]
    if len(days) >= HOLT_DAYS_MIN:
        outlooks.append(_damped_holt(days, remaining_days))
    outlooks.sort(key=lambda outlook: outlook.variance)
    return tuple(_forecast(outlook, spent, today, cap) for outlook in outlooks)


def of_month(costs: Mapping[str, Decimal], today: date, cap: Decimal | None) -> Sequence[Forecast]:
    """Return forecasts of the month of `today` from the costs of its days, and of those of the month before."""
    month = today.isoformat()[:7]
    past = [today - timedelta(days=back) for back in range(DAYS_MAX, 0, -1)]
    # No day further back than the month before was asked for.
    known = [day for day in past if day.isoformat()[:7] >= month_before(month)]
    after = date(today.year + today.month // 12, today.month % 12 + 1, 1)
    return forecasts(
        [costs.get(day.isoformat(), ZERO) for day in known],
        remaining_days=(after - today).days,
        spent=sum((cost for day, cost in costs.items() if day[:7] == month), ZERO),
        today=costs.get(today.isoformat(), ZERO),
        cap=cap,
    )


def _observed(daily: Sequence[Decimal]) -> list[float]:
    first = next((index for index, day in enumerate(daily) if day), len(daily) - 1)
    return [float(day) for day in daily[first:][-DAYS_MAX:]]


def _run_rate(days: Sequence[float], remaining: int) -> _Outlook:
    most = min(len(days), RUN_RATE_DAYS_MAX)
    taken = days[-(most - most % WEEK if most >= WEEK else most) :]
    mean = fmean(taken)
    count, freedom = len(taken), max(1, len(taken) - 1)
    # Of one day nobody knows how it varies: as much as it cost.
    spread = sum((day - mean) ** 2 for day in taken) / freedom if count > 1 else mean * mean
    return _Outlook(
        method=ForecastMethod.RUN_RATE,
        ahead=[mean] * remaining,
        # The days vary, and so does the mean of those so far.
        deviation=sqrt(spread * (remaining + remaining * remaining / count)),
        days_observed=count,
        freedom=freedom,
        variance=_off_by_running_mean(days),
    )


def _off_by_running_mean(days: Sequence[float]) -> float:
    """Return how far off the mean of the days before was each day, squared, on average."""
    errors = [days[index] - fmean(days[max(0, index - RUN_RATE_DAYS_MAX) : index]) for index in range(1, len(days))]
    return sum(error * error for error in errors) / max(1, len(errors) - 1)


def _damped_holt(days: Sequence[float], remaining: int) -> _Outlook:
    fitted = [fit(days, 1)]
    if len(days) >= SEASON_DAYS_MIN:
        fitted.append(fit(days, WEEK))
    best: Fitted = min(fitted, key=lambda each: each.variance)
    return _Outlook(
        method=ForecastMethod.DAMPED_HOLT,
        ahead=[max(0.0, day) for day in best.ahead(remaining)],
        deviation=best.deviation_of_sum(remaining),
        days_observed=len(days),
        freedom=max(1, len(days) - best.parameters),
        variance=best.variance,
    )


def _forecast(outlook: _Outlook, spent: Decimal, today: Decimal, cap: Decimal | None) -> Forecast:
    first, *later = map(_amount, outlook.ahead)
    costs = [max(today, first), *later]
    standing = list(accumulate(costs, initial=spent - today))[1:]
    projected = standing[-1]
    margin = _amount(_quantile(outlook.freedom) * outlook.deviation)
    return Forecast(
        method=outlook.method,
        projected=projected,
        low=max(spent, projected - margin),
        high=projected + margin,
        days_observed=outlook.days_observed,
        exhausted_in=None if cap is None else _used_up(standing, cap),
    )


def _used_up(standing: Iterable[Decimal], cap: Decimal) -> int | None:
    return next((index for index, cost in enumerate(standing) if cost >= cap), None)


def _amount(estimate: float) -> Decimal:
    return Decimal(estimate).quantize(NANO, context=EXACT)


def _quantile(freedom: int) -> float:
    """Return how many deviations the interval reaches: Student's, by its expansion around the normal one.

    It is off by less than a hundredth from three degrees of freedom on, and too narrow below.
    """
    z, n = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )
