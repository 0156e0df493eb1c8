"""When is something due that is done every so often?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Every so often; where `interval` is of whole days, `at` a time of day in UTC, whenever it was done last.

    A worked example, for every day at 03:00: what was done on the 5th at 14:00 is due on the 6th at 03:00.
    """

    interval: timedelta
    at: time

    def due_at(self, last: datetime) -> datetime:
        """Return when it is due next, if it was done at the aware instant `last`."""
        if self.interval % DAY:
            return last + self.interval
        last = last.astimezone(UTC)
        following = datetime.combine(last, self.at, UTC)
        if following <= last:
            following += DAY
        return following + self.interval - DAY
