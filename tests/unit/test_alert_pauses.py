"""How long is it waited between attempts at an alert?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.alert_deliveries import JITTER, PAUSE_MAX_S, jittered_s, pause_s


def test_pauses_double_up_to_an_hour() -> None:
    """Five seconds at first, an hour in the end."""
    assert [pause_s(attempts, 5) for attempts in range(1, 13)] == [
        *(5 * 2**doublings for doublings in range(10)),
        PAUSE_MAX_S,
        PAUSE_MAX_S,
    ]


@given(attempts=st.integers(1, 10**9), first_s=st.floats(0.01, 3600))
def test_pauses_have_bounds(attempts: int, first_s: float) -> None:
    """However often it was tried."""
    assert first_s <= pause_s(attempts, first_s) <= PAUSE_MAX_S


@given(whole_s=st.floats(0.01, 3600), chance=st.floats(0, 1))
def test_chance_shortens_by_a_quarter_at_most(whole_s: float, chance: float) -> None:
    """So that what failed together is not tried again together, nor much sooner."""
    assert whole_s * (1 - JITTER) <= jittered_s(whole_s, chance) <= whole_s
