"""Reservation ids are unique and grow with time."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper_client import new_reservation_id

STEP_NS = 245
"""Instants this far apart have different ids, and ids in their order."""


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    """Its first 48 bits are the milliseconds since 1970."""
    before_ms = time.time_ns() // 10**6
    made = UUID(new_reservation_id())
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before_ms <= made.int >> 80 <= time.time_ns() // 10**6


def test_ids_of_one_instant_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standing clock makes no id twice."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({new_reservation_id() for _ in range(1000)}) == 1000


@given(start_ns=st.integers(0, 2**62), step_ns=st.integers(STEP_NS, 10**9))
def test_later_ids_sort_later(start_ns: int, step_ns: int) -> None:
    """Text order is time order, also within a millisecond."""
    instants = iter([start_ns, start_ns + step_ns])
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(time, "time_ns", lambda: next(instants))
        assert new_reservation_id() < new_reservation_id()
