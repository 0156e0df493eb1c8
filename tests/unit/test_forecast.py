"""Does a forecast say where a month is going? In amounts that are exact where money is spent, and never below it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gatekeeper.domain.forecast import ForecastMethod, forecasts
from gatekeeper.domain.smoothing import fit

TEN = Decimal(10)


def test_the_mean_goes_on() -> None:
    """The worked example of the module's docstring, whose interval has no width: the days do not vary."""
    twenty = [TEN] * 20
    for found in forecasts(twenty, remaining_days=10, spent=Decimal(203), today=Decimal(3), cap=Decimal(250)):
        assert (found.projected, found.low, found.high) == (300, 300, 300)
        # The 21st is the first of the days to come.
        assert found.exhausted_in == 4


@pytest.mark.parametrize(("daily", "remaining_days"), [([], 30), ([TEN], 0)])
def test_nothing_is_said_of_nothing(daily: list[Decimal], remaining_days: int) -> None:
    """Without a whole day, and of a month that is over, there is no forecast."""
    assert forecasts(daily, remaining_days=remaining_days, spent=TEN) == ()


def test_one_day_is_a_run_rate() -> None:
    """Its interval is as wide as if days vary by all that they cost."""
    (found,) = forecasts([TEN], remaining_days=1, spent=TEN)
    assert (found.method, found.days_observed, found.projected) == (ForecastMethod.RUN_RATE, 1, 20)
    assert found.low == TEN
    assert found.high > 40


def test_days_before_the_first_that_cost_are_left_out() -> None:
    """An organization that began a week ago has a week of days."""
    (found,) = forecasts([Decimal(0)] * 30 + [TEN] * 7, remaining_days=7, spent=Decimal(70))
    assert (found.projected, found.days_observed) == (140, 7)


def test_a_month_without_cost_stays_so() -> None:
    """Nothing goes on as nothing, and uses no cap up, unless it is zero."""
    for cap, exhausted_in in ((TEN, None), (Decimal(0), 0)):
        for found in forecasts([Decimal(0)] * 30, remaining_days=7, spent=Decimal(0), cap=cap):
            assert (found.projected, found.low, found.high) == (0, 0, 0)
            assert found.exhausted_in == exhausted_in


def test_what_today_has_cost_is_no_forecast() -> None:
    """A dear day counts as it is, and a cheap one as it is expected to end."""
    for today, projected in (("500.000000001", "710.000000001"), ("1", "220")):
        spent = 200 + Decimal(today)
        for found in forecasts([TEN] * 20, remaining_days=2, spent=spent, today=Decimal(today)):
            assert found.projected == Decimal(projected)
            assert found.projected >= spent


def test_weekends_are_seen() -> None:
    """Where weekends cost nothing, the days to come know which of them are weekends, and the smoothing fits best."""
    weeks = [Decimal(100)] * 5 + [Decimal(0)] * 2
    best, other = forecasts(weeks * 4, remaining_days=5, spent=Decimal(0))
    assert (best.method, other.method) == (ForecastMethod.DAMPED_HOLT, ForecastMethod.RUN_RATE)
    assert abs(best.projected - 500) < 1
    assert best.low <= 500 <= best.high
    assert abs(other.projected - Decimal("357.142857143")) < Decimal("1e-8")


def test_a_trend_is_followed_and_fades() -> None:
    """Growth goes on for a while, but not for ever."""
    growing = [Decimal(10 + day) for day in range(20)]
    best = forecasts(growing, remaining_days=20, spent=Decimal(0))[0]
    assert best.method is ForecastMethod.DAMPED_HOLT
    assert 20 * growing[-1] < best.projected < sum(30 + day for day in range(20))


def test_what_falls_stops_at_nothing() -> None:
    """No day costs less than nothing, however steep the way down."""
    falling = [Decimal(400 - 20 * day) for day in range(20)]
    for found in forecasts(falling, remaining_days=10, spent=Decimal(4000)):
        assert found.low >= 4000


def test_the_same_days_give_the_same_parameters() -> None:
    """Parameters are looked for, not drawn by lot."""
    days = [10.0, 12.0, 9.0, 14.0, 11.0, 3.0, 2.0] * 4
    assert fit(days, 7) == fit(days, 7)
