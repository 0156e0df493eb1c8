"""How long calls took."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.replay.latencies import Latencies


def measured(latencies_s: list[float]) -> Latencies:
    """Count some latencies."""
    latencies = Latencies()
    for latency_s in latencies_s:
        latencies.add(latency_s)
    return latencies


@given(st.lists(st.floats(1e-6, 1e4), min_size=1), st.integers(1, 100))
def test_a_percentile_is_at_most_a_hundredth_too_high(latencies_s: list[float], percent: int) -> None:
    """And never too low, nor above the longest."""
    exact_ms = 1000 * sorted(latencies_s)[math.ceil(len(latencies_s) * percent / 100) - 1]
    found_ms = measured(latencies_s).percentile_ms(percent)
    assert exact_ms * (1 - 1e-9) <= found_ms <= min(exact_ms * 1.0111, 1000 * max(latencies_s) * (1 + 1e-9))


def test_the_longest_is_exact() -> None:
    """It is kept beside the counts."""
    assert measured([0.001, 0.0123456]).max_ms() == 12.3456


def test_without_calls_there_is_nothing_to_wait_for() -> None:
    """All figures are zero."""
    assert Latencies().report() == {"p50": 0, "p95": 0, "p99": 0, "max": 0}


def test_a_latency_of_nothing_counts() -> None:
    """A coarse clock may measure zero."""
    assert measured([0.0]).percentile_ms(50) == 0
