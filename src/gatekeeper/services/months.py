"""How is an organization's month found that a report is about, and read as it stands at one instant?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from gatekeeper.domain import errors
from gatekeeper.domain.burn_rate import MICROSECOND, span_of
from gatekeeper.domain.burn_rate import Span as Bounds
from gatekeeper.domain.invoices import Span
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Window, periods_at
from gatekeeper.storage import budgets
from gatekeeper.storage.connections import Connection, Pool
from gatekeeper.storage.months import snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month of an organization, and a connection that reads it in one snapshot, taken at `now`.

    `today` is the day there and then, by the organization's calendar.
    """

    connection: Connection
    organization: Organization
    now: datetime
    today: date
    period: str

    @property
    def is_current(self) -> bool:
        """Tell whether it is not over."""
        return self.period == current_month(self.today)

    @property
    def bounds(self) -> Bounds:
        """When it begins and ends."""
        found = span_of(Window.MONTH, self.period, ZoneInfo(self.organization.time_zone))
        assert found is not None
        return found

    def recorded(self, period: str = "") -> Span:
        """Return all executions in the snapshot of this month, or of another."""
        # A clock that stands still may have recorded some at this very instant.
        return Span(period=period or self.period, recorded_before=self.now + MICROSECOND)


@asynccontextmanager
async def reading(pool: Pool, organization: str, period: str, *, last: bool = False) -> AsyncIterator[Month]:
    """Yield a month in one snapshot; where none is named, the current one, or the `last` that is over.

    Raises `OrganizationNotFound`, `PeriodNotOver` for a month to come, or `DatabaseUnavailable`.
    """
    async with snapshot(pool) as connection:
        found = await budgets.find_organization(connection, organization)
        if found is None:
            raise errors.OrganizationNotFound(organization=organization)
        now, known = found
        today = date.fromisoformat(periods_at(now, ZoneInfo(known.time_zone)).day)
        current = current_month(today)
        if period > current:
            raise errors.PeriodNotOver(period=period, current=current)
        named = period or (month_before(current) if last else current)
        yield Month(connection=connection, organization=known, now=now, today=today, period=named)


def current_month(today: date) -> str:
    """Return the month that a day is in."""
    return today.isoformat()[:7]


def month_before(period: str) -> str:
    """Return the month before one: 2026-10 is before 2026-11."""
    return (date.fromisoformat(f"{period}-01") - timedelta(days=1)).isoformat()[:7]
