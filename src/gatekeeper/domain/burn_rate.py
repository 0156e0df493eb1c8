"""Does a budget last until its period ends, if money goes on being spent as it has been since the period began?

A worked example. A month of 30 days with a cap of 1,000.00, of which 500.00 is spent after 10 days::

    rate                     500.00 in 10 days
    used up                  1,000.00 ÷ rate = 20 days after the beginning, on the 21st at 00:00
    spent by the month's end 1,500.00, which is 500.00 beyond the cap

The beginning of a period says little, and so do the first few calls: less than a twentieth of the period or a tenth of
the cap predicts nothing. Nor is anything predicted where nothing ends or nothing is left: of totals, of a cap of zero,
and of one that is used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Context, Decimal

from .alerts import Alert, AlertKind, budget_alert, budget_name
from .budget import HUNDRED, Balance
from .money import EXACT, NANO, ZERO, plain
from .periods import Window

# How much of the period, and of the cap, must be gone.
PERIOD_PERCENT_MIN = 5
CAP_PERCENT_MIN = 10

MICROSECOND = timedelta(microseconds=1)
# A prediction is not better than that.
_ROUGH = Context(prec=3)


@dataclass(frozen=True, slots=True)
class Span:
    """When a period begins, and when the next one does."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a budget will be used up, and how far beyond its cap its period would end at this rate."""

    exhausted_at: datetime
    overshoot: Decimal


def span_of(window: Window, period: str, zone: tzinfo) -> Span | None:
    """Return when a period begins and ends by the calendar of `zone`, in UTC; None: it never ends."""
    if window is Window.TOTAL:
        return None
    if window is Window.DAY:
        first = date.fromisoformat(period)
        after = first + timedelta(days=1)
    else:
        first = date.fromisoformat(f"{period}-01")
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return Span(_midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def forecast(spent: Decimal, cap: Decimal, span: Span | None, now: datetime) -> Forecast | None:
    """Predict whether a budget is used up before its period ends; None: it lasts, or nothing can be said."""
    if span is None or not cap > ZERO or spent >= cap or HUNDRED * spent < CAP_PERCENT_MIN * cap:
        return None
    elapsed, length = (now - span.start) // MICROSECOND, (span.end - span.start) // MICROSECOND
    if not 0 < elapsed < length or 100 * elapsed < PERIOD_PERCENT_MIN * length:
        return None
    projected = EXACT.divide(EXACT.multiply(spent, Decimal(length)), Decimal(elapsed))
    if projected <= cap:
        return None
    lasts = EXACT.divide(EXACT.multiply(cap, Decimal(elapsed)), spent)
    overshoot = EXACT.subtract(projected, cap).quantize(NANO, context=EXACT)
    return Forecast(span.start + int(lasts) * MICROSECOND, overshoot)


def burn_rate_alert(balance: Balance, currency: str, zone: tzinfo, now: datetime) -> Alert | None:
    """Return what is to be told of a balance of a current period; None: nothing."""
    predicted = forecast(balance.spent, balance.cap, span_of(balance.key.window, balance.key.period, zone), now)
    if predicted is None:
        return None
    when = f"{predicted.exhausted_at.astimezone(zone):%Y-%m-%d at %H:%M} ({zone})"
    message = (
        f"{budget_name(balance.key)} will be used up on {when} at this rate: {plain(balance.spent)} spent of"
        f" {plain(balance.cap)} {currency}. By the end of the period it would be some"
        f" {plain(_ROUGH.plus(predicted.overshoot))} {currency} beyond its cap."
    )
    return budget_alert(AlertKind.BURN_RATE, balance, message, now, round=balance.alerted.round)
