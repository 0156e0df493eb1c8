"""When is something due that is done every so often?"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone

import pytest

from gatekeeper.domain.schedule import Schedule

AT = time(3)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "last", "due"),
    [
        (1, at(5, 3), at(6, 3)),
        (1, at(5, 3, 1), at(6, 3)),
        (1, at(5, 14), at(6, 3)),
        (1, at(5, 2, 59), at(5, 3)),
        (1, at(30, 3), at(30, 3) + timedelta(days=1)),
        (7, at(5, 3), at(12, 3)),
        (7, at(5, 14), at(12, 3)),
        (1, at(5, 0).astimezone(timezone(timedelta(hours=-8))), at(5, 3)),
    ],
)
def test_whole_days(days: int, last: datetime, due: datetime) -> None:
    """What is done every so many days is due at its time of day, however late it was the last time."""
    assert Schedule(interval=timedelta(days=days), at=AT).due_at(last) == due


def test_other_intervals() -> None:
    """What is done every few hours is due that long after the last time."""
    assert Schedule(interval=timedelta(hours=6), at=AT).due_at(at(5, 14)) == at(5, 20)
