"""How is an organization's month found that a report is about, and read as it stands at one instant?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from gatekeeper.domain import errors
from gatekeeper.domain.burn_rate import Span as Bounds
from gatekeeper.domain.burn_rate import span_of
from gatekeeper.domain.invoices import Span
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Window, periods_at
from gatekeeper.domain.spend import month_before
from gatekeeper.storage import budgets
from gatekeeper.storage.connections import Connection, Pool
from gatekeeper.storage.months import read_times, snapshot

# No calendar that organizations go by has an instant before it that could be written.
FIRST_MONTH = "1970-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month of an organization, and a connection that reads it in one snapshot.

    It is read as it was at `read_at`: when the snapshot was taken, or before, if `is_past`. `today` is the day there
    and then, by the organization's calendar. All that was recorded before `read_time` is read, and nothing else.
    """

    connection: Connection
    organization: Organization
    period: str
    today: date
    is_current: bool
    is_past: bool
    read_at: datetime
    read_time: datetime

    @property
    def bounds(self) -> Bounds:
        """When it begins and ends."""
        found = span_of(Window.MONTH, self.period, ZoneInfo(self.organization.time_zone))
        assert found is not None
        return found

    def recorded(self, period: str = "") -> Span:
        """Return the executions of this month, or of another, that are read."""
        return Span(period=period or self.period, recorded_before=self.read_time)


@asynccontextmanager
async def reading(
    pool: Pool,
    organization: str,
    period: str,
    *,
    as_of: datetime | None = None,
    after: datetime | None = None,
    last: bool = False,
) -> AsyncIterator[Month]:
    """Yield a month in one snapshot; where none is named, the current one, or the `last` that is over.

    `as_of` is when it is read, as if it were now; `after` is the read time of the pages before. Raises
    `OrganizationNotFound`, `PeriodNotOver` for a month to come, `InvalidField` for an instant to come or a month of
    another age, or `DatabaseUnavailable`.
    """
    async with snapshot(pool) as connection:
        found = await budgets.find_organization(connection, organization)
        if found is None:
            raise errors.OrganizationNotFound(organization=organization)
        _, known = found
        now, newest = await read_times(connection, organization)
        _demand_past(now, as_of, after)
        zone = ZoneInfo(known.time_zone)
        read_at = as_of or after or now
        today = date.fromisoformat(periods_at(read_at, zone).day)
        named = _named(period, current_month(today), last=last)
        yield Month(
            connection=connection,
            organization=known,
            period=named,
            today=today,
            is_current=named == periods_at(now, zone).month,
            is_past=bool(as_of or after),
            read_at=read_at,
            read_time=min(after or read_at, newest),
        )


def _demand_past(now: datetime, as_of: datetime | None, after: datetime | None) -> None:
    if as_of is not None and as_of > now:
        raise errors.InvalidField(field="as_of", problem=f"is in the future: it is {now.isoformat()}; leave it unset")
    if after is not None and after > now:
        raise errors.InvalidField(field="page_token", problem="is of a page that nobody has read yet; begin anew")


def _named(period: str, current: str, *, last: bool) -> str:
    """Return the month that is asked for."""
    if period and period < FIRST_MONTH:
        raise errors.InvalidField(field="period", problem=f"must not be before {FIRST_MONTH}")
    if period > current:
        raise errors.PeriodNotOver(period=period, current=current)
    return period or (month_before(current) if last else current)


def current_month(today: date) -> str:
    """Return the month that a day is in."""
    return today.isoformat()[:7]
