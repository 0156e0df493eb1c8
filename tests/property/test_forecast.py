"""Is a forecast what others count too, and one that can be relied on? statsmodels is the oracle."""

from __future__ import annotations

from decimal import Decimal
from math import sin, tau
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.domain.forecast import forecasts
from gatekeeper.domain.smoothing import HIGHEST, LOWEST, Fitted, Smoothing, fit, smoothed

DAYS_AHEAD = 12
# The oracle's forecast of every seventh day takes that weekday's season as it was a week before the last day.
ODD_AHEAD = (6,)

amounts = st.integers(0, 10**21).map(lambda nanos: Decimal(nanos).scaleb(-9))


def days_of(seed: int, count: int) -> list[float]:
    """Return days with a trend, a week and noise."""
    random = Random(seed)
    trend, week, noise = random.uniform(-1, 2), random.uniform(0, 60), random.uniform(0, 20)
    return [max(0, 100 + trend * day + week * sin(day * tau / 7) + random.gauss(0, noise)) for day in range(count)]


def oracle(days: list[float], ours: Fitted) -> Any:
    """Return the oracle's model of some days, from the same first state."""
    # It takes seconds to load: not while tests are collected.
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    start = ours.start
    seasonal: dict[str, Any] = {}
    if len(start.season) > 1:
        seasonal = {"seasonal": "add", "seasonal_periods": 7, "initial_seasonal": start.season}
    return ExponentialSmoothing(
        days,
        trend="add",
        damped_trend=True,
        bounds={"damping_trend": (LOWEST[2], HIGHEST[2])},
        initialization_method="known",
        initial_level=start.level,
        initial_trend=start.trend,
        **seasonal,
    )


@pytest.mark.parametrize("season", [1, 7])
@pytest.mark.parametrize("count", [21, 40, 56])
@pytest.mark.parametrize(
    "smoothing", [Smoothing(0.3, 0.1, 0.9, 0.2), Smoothing(0.9, 0.5, 0.98), Smoothing(0.01, 0, 0.8, 1)]
)
def test_states_and_forecasts_are_the_oracles(season: int, count: int, smoothing: Smoothing) -> None:
    """For the same parameters from the same first state, every error, the last state and the days to come are equal."""
    days = days_of(count, count)
    ours = smoothed(days, smoothing, fit(days, season).start)
    parameters = {
        "smoothing_level": smoothing.alpha,
        "smoothing_trend": smoothing.beta,
        "damping_trend": smoothing.phi,
    } | ({"smoothing_seasonal": smoothing.gamma} if season > 1 else {})
    theirs = oracle(days, ours).fit(optimized=False, **parameters)
    if season == 1:
        ours = smoothed(days, smoothing._replace(gamma=0), ours.start)
    assert ours.errors == pytest.approx(theirs.resid, abs=1e-9)
    assert (ours.end.level, ours.end.trend) == pytest.approx((theirs.level[-1], theirs.trend[-1]), abs=1e-9)
    if season > 1:
        assert ours.end.season == pytest.approx(theirs.season[-7:], abs=1e-9)
    pairs = [*zip(ours.ahead(DAYS_AHEAD), theirs.forecast(DAYS_AHEAD), strict=True)]
    for index, (our, their) in enumerate(pairs):
        if season == 1 or index not in ODD_AHEAD:
            assert our == pytest.approx(their, abs=1e-9)


@pytest.mark.parametrize("season", [1, 7])
@pytest.mark.parametrize("seed", range(6))
def test_the_fit_is_as_good_as_the_oracles(season: int, seed: int) -> None:
    """No parameters that an optimizer finds from the same first state are better by more than five per cent."""
    days = days_of(seed, 49)
    ours = fit(days, season)
    model = oracle(days, ours)
    # From where it starts by itself, and from where ours ended: an optimizer may get stuck.
    theirs = min(model.fit().sse, model.fit(start_params=_start(ours)).sse)
    assert sum(error * error for error in ours.errors) <= theirs * 1.05


def _start(ours: Fitted) -> Any:
    alpha, beta, phi, gamma = ours.smoothing
    return [alpha, beta, gamma, phi] if len(ours.start.season) > 1 else [alpha, beta, phi]


def test_intervals_hold_what_they_promise() -> None:
    """Of a hundred months, some eighty end within the interval of the best fitting forecast."""
    hits, months = 0, 100
    for seed in range(months):
        days = [Decimal(day) for day in days_of(seed, 60)]
        best = forecasts(days[:45], remaining_days=15, spent=Decimal(0))[0]
        hits += best.low <= sum(days[45:]) <= best.high
    assert 65 <= hits <= 92


@settings(deadline=None, max_examples=40)
@given(
    daily=st.lists(amounts, max_size=60),
    remaining_days=st.integers(0, 31),
    spent=amounts,
    share=st.integers(0, 10),
    cap=st.none() | amounts,
)
def test_no_forecast_is_below_what_is_spent(
    daily: list[Decimal], remaining_days: int, spent: Decimal, share: int, cap: Decimal | None
) -> None:
    """Whatever the days were: low ≤ projected ≤ high, in whole nanos, and a cap that is used up is one below."""
    today = (spent * share / 10).quantize(Decimal("1e-9"))
    for found in forecasts(daily, remaining_days=remaining_days, spent=spent, today=today, cap=cap):
        assert spent <= found.low <= found.projected <= found.high
        assert found.projected == found.projected.quantize(Decimal("1e-9"))
        assert (found.exhausted_in is None) == (cap is None or found.projected < cap)
        assert found.exhausted_in is None or 0 <= found.exhausted_in < remaining_days
