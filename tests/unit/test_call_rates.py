"""Does a caller get its rate, no more and no less?"""

from __future__ import annotations

import pytest

from gatekeeper.domain.errors import RateLimited
from gatekeeper.rpc.call_rates import CallRates


def admitted(rates: CallRates, caller: str, calls: int, *, begin_s: float, interval_s: float) -> int:
    """Return how many of evenly spaced calls are let through."""
    count = 0
    for number in range(calls):
        try:
            rates.count(caller, begin_s + number * interval_s)
        except RateLimited:
            continue
        count += 1
    return count


def test_calls_at_the_rate_all_pass() -> None:
    """An even caller is never slowed down."""
    assert admitted(CallRates(100), "a", 10_000, begin_s=7, interval_s=0.01) == 10_000


@pytest.mark.parametrize("factor", [2, 50])
def test_calls_above_the_rate_pass_at_the_rate(factor: int) -> None:
    """Over ten seconds, ten seconds' worth pass, and one second's worth at once before."""
    seconds, rate = 10, 100
    calls = seconds * rate * factor
    passed = admitted(CallRates(rate), "a", calls, begin_s=7, interval_s=seconds / calls)
    assert passed == pytest.approx((seconds + 1) * rate, abs=2)


def test_callers_do_not_share_a_rate() -> None:
    """One that is refused takes nothing from another."""
    rates = CallRates(10)
    assert admitted(rates, "loud", 1000, begin_s=0, interval_s=0) == 10
    assert admitted(rates, "calm", 10, begin_s=0, interval_s=0) == 10


def test_a_pause_earns_a_second_and_no_more() -> None:
    """However long a caller was quiet, its burst is one second's worth."""
    rates = CallRates(10)
    rates.count("a", 0)
    assert admitted(rates, "a", 100, begin_s=3600, interval_s=0) == 10


def test_less_than_one_a_second() -> None:
    """A rate below one lets a single call through at a time."""
    rates = CallRates(0.5)
    assert admitted(rates, "a", 10, begin_s=0, interval_s=1) == 5
