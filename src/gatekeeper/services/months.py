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
from gatekeeper.storage.months import snapshot
from gatekeeper.storage.statements import SLACK

# No calendar that organizations go by has an instant before it that could be written.
FIRST_MONTH = "1970-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month of an organization, and a connection that reads it in one snapshot.

    It is read as it was at `read_at`: when the snapshot was taken, or before, if that is `past`. `today` is the day
    there and then, by the organization's calendar.
    """

    connection: Connection
    organization: Organization
    read_at: datetime
    past: bool
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
        """Return the executions of this month, or of another, that were recorded before."""
        # Of now, all that is in the snapshot: a clock that was put back may have recorded some later than that.
        before = self.read_at if self.past else self.read_at + SLACK
        return Span(period=period or self.period, recorded_before=before)


@asynccontextmanager
async def reading(
    pool: Pool, organization: str, period: str, *, as_of: datetime | None = None, last: bool = False
) -> AsyncIterator[Month]:
    """Yield a month in one snapshot; where none is named, the current one, or the `last` that is over.

    `as_of` is when it is read, as if it were now. Raises `OrganizationNotFound`, `PeriodNotOver` for a month to come,
    `InvalidField` for an instant to come or a month of another age, or `DatabaseUnavailable`.
    """
    async with snapshot(pool) as connection:
        found = await budgets.find_organization(connection, organization)
        if found is None:
            raise errors.OrganizationNotFound(organization=organization)
        now, known = found
        if as_of is not None and as_of > now:
            raise errors.InvalidField(
                field="as_of", problem=f"must not be in the future; it is {now:%Y-%m-%dT%H:%M:%SZ}"
            )
        read_at = as_of or now
        today = date.fromisoformat(periods_at(read_at, ZoneInfo(known.time_zone)).day)
        current = current_month(today)
        if period and period < FIRST_MONTH:
            raise errors.InvalidField(field="period", problem=f"must not be before {FIRST_MONTH}")
        if period > current:
            raise errors.PeriodNotOver(period=period, current=current)
        named = period or (month_before(current) if last else current)
        yield Month(
            connection=connection,
            organization=known,
            read_at=read_at,
            past=as_of is not None,
            today=today,
            period=named,
        )


def current_month(today: date) -> str:
    """Return the month that a day is in."""
    return today.isoformat()[:7]
