"""Which period does an instant fall in?

A period is part of a balance's key, so nothing is ever reset: a new month is a new balance.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum

TOTAL = "total"


class Window(StrEnum):
    """How long a budget lasts before a new one of the same cap begins."""

    DAY = "DAY"
    MONTH = "MONTH"
    TOTAL = "TOTAL"


@dataclass(frozen=True, slots=True)
class Periods:
    """The calendar periods of one instant: `day` as 2026-11-20, `month` as 2026-11."""

    day: str
    month: str

    def of(self, window: Window) -> str:
        """Return the period of this instant in `window`."""
        if window is Window.MONTH:
            return self.month
        return self.day if window is Window.DAY else TOTAL


def periods_at(instant: datetime, zone: tzinfo) -> Periods:
    """Return the periods of an aware `instant`, by the calendar of `zone`."""
    day = instant.astimezone(zone).date().isoformat()
    return Periods(day, day[:7])
