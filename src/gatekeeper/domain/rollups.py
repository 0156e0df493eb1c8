"""Which part of a span do rollups have, and which executions are to be added to that, or taken off?

Rollups hold sums by the UTC date of recording, of all that was recorded before a mark. So they know the sum of what was
recorded before each midnight up to the mark, and before the mark itself. From the nearest of these to the instant that
was asked for, executions are counted one by one: at most twelve hours of them, or those since the mark.

For example, with the mark at noon of the 20th: what was recorded before 22:00 of the 18th is what the rollups have of
dates before the 19th, less the executions recorded on the 18th from 22:00 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from .invoices import Span

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Executions of a month, recorded from one instant on and before another, to add (`sign` 1) or to take off (-1)."""

    period: str
    sign: int
    recorded_from: datetime
    recorded_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """Rollups of a month, of what was recorded on a date or later, and before another date (None: all)."""

    period: str
    recorded_from: date
    recorded_before: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a span is made of; no rollups where executions alone are less work."""

    dates: Dates | None
    edges: Sequence[Edge]


def parts_of(span: Span, mark: datetime | None) -> Parts:
    """Return what a span is made of, with rollups of what was recorded before `mark` (None: there are none)."""
    begin, end = span.recorded_from, span.recorded_before
    first, last = _cut(begin, mark), _cut(end, mark)
    if first is None or first == last:
        return Parts(dates=None, edges=_edges(span.period, (begin, end)))
    assert last is not None
    # The first cut is before the mark, hence a midnight.
    dates = Dates(period=span.period, recorded_from=first.date(), recorded_before=None if last == mark else last.date())
    return Parts(dates=dates, edges=_edges(span.period, (begin, first), (last, end)))


def _cut(instant: datetime, mark: datetime | None) -> datetime | None:
    """Return the nearest instant before which the rollups know the sum."""
    if mark is None or instant >= mark:
        return mark
    midnight = datetime.combine(instant.astimezone(UTC).date(), time(), UTC)
    after = min(midnight + DAY, mark)
    return midnight if instant - midnight <= after - instant else after


def _edges(period: str, *gaps: tuple[datetime, datetime]) -> Sequence[Edge]:
    """Return the edges from one instant to another, those that go back in time with the sign for it.

    No execution of a month is recorded before it begins, which is less than a day before it begins in UTC.
    """
    earliest = datetime.combine(date.fromisoformat(f"{period}-01"), time(), UTC) - DAY
    edges = [
        Edge(
            period=period,
            sign=1 if begin < end else -1,
            recorded_from=max(min(begin, end), earliest),
            recorded_before=max(begin, end),
        )
        for begin, end in gaps
    ]
    return tuple(edge for edge in edges if edge.recorded_from < edge.recorded_before)
