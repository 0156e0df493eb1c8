"""What does a burn rate predict, and where does it predict nothing?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from gatekeeper.domain.alerts import AlertKind
from gatekeeper.domain.budget import ORGANIZATION, Alerted, Balance, BalanceKey, Enforcement
from gatekeeper.domain.burn_rate import Span, burn_rate_alert, forecast, span_of
from gatekeeper.domain.periods import Window

BERLIN = ZoneInfo("Europe/Berlin")
# 30 days, so that a per cent of it is 7.2 hours.
NOVEMBER = Span(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
CAP = Decimal(1000)


def after_days(days: float) -> datetime:
    return NOVEMBER.start + timedelta(days=days)


def test_worked_example() -> None:
    """Half of the cap within a third of the month: it is used up on the 21st, and half as much again is too much."""
    found = forecast(Decimal(500), CAP, NOVEMBER, after_days(10))
    assert found is not None
    assert found.exhausted_at == datetime(2026, 11, 21, tzinfo=UTC)
    assert found.overshoot == 500


@pytest.mark.parametrize(
    ("spent", "cap", "days"),
    [
        (Decimal(333), CAP, 10),
        (Decimal(90), CAP, 1.49),
        (Decimal("99.999999999"), CAP, 1.5),
        (CAP, CAP, 10),
        (Decimal(2000), CAP, 10),
        (Decimal(1), Decimal(0), 10),
        (Decimal(0), Decimal(0), 10),
        (Decimal(0), CAP, 10),
        (Decimal(900), CAP, 0),
        (Decimal(900), CAP, -1),
        (Decimal(900), CAP, 30),
    ],
)
def test_nothing_to_tell(spent: Decimal, cap: Decimal, days: float) -> None:
    """Nothing is told where it lasts, early in the period, of little, of nothing left, and outside of the period."""
    assert forecast(spent, cap, NOVEMBER, after_days(days)) is None


def test_first_that_can_be_told() -> None:
    """A twentieth of the period and a tenth of the cap are enough."""
    assert forecast(Decimal(100), CAP, NOVEMBER, after_days(1.5)) is not None


def test_total_has_no_end() -> None:
    """A total is not predicted."""
    assert span_of(Window.TOTAL, "total", UTC) is None
    assert forecast(Decimal(900), CAP, None, after_days(10)) is None


@pytest.mark.parametrize(
    ("window", "period", "start", "hours"),
    [
        (Window.DAY, "2026-11-20", datetime(2026, 11, 19, 23, tzinfo=UTC), 24),
        # Summer time begins, and ends.
        (Window.DAY, "2026-03-29", datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        (Window.DAY, "2026-10-25", datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        (Window.MONTH, "2026-12", datetime(2026, 11, 30, 23, tzinfo=UTC), 31 * 24),
        (Window.MONTH, "2028-02", datetime(2028, 1, 31, 23, tzinfo=UTC), 29 * 24),
        (Window.MONTH, "2026-03", datetime(2026, 2, 28, 23, tzinfo=UTC), 31 * 24 - 1),
    ],
)
def test_spans(window: Window, period: str, start: datetime, hours: int) -> None:
    """Periods begin and end at midnight of the organization's calendar, however long they are."""
    assert span_of(window, period, BERLIN) == Span(start, start + timedelta(hours=hours))


def test_alert() -> None:
    """An alert names the budget, the day by its calendar and the overshoot, and is told once in a round."""
    key = BalanceKey(ORGANIZATION, Window.MONTH, "2026-11")
    balance = Balance(
        key,
        CAP,
        Enforcement.ENFORCE,
        frozen=False,
        spent=Decimal("612.34"),
        reserved=Decimal(1),
        alerted=Alerted(round=7),
    )
    now = datetime(2026, 11, 10, 23, tzinfo=UTC)
    alert = burn_rate_alert(balance, "EUR", BERLIN, now)
    assert alert is not None
    assert alert.message == (
        "The month budget of the organization (2026-11) will be used up on 2026-11-17 at 07:56 (Europe/Berlin) at this"
        " rate: 612.34 spent of 1000.00 EUR. By the end of the period it would be some 837.00 EUR beyond its cap."
    )
    assert (alert.kind, alert.key, alert.round, alert.subject, alert.basis) == (AlertKind.BURN_RATE, key, 7, "", None)
    assert (alert.cap, alert.spent, alert.reserved) == (CAP, Decimal("612.34"), Decimal(1))
    assert burn_rate_alert(balance._replace(spent=Decimal(100)), "EUR", BERLIN, now) is None
