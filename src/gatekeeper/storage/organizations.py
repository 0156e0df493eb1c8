"""Which organizations are there, and how do their terms change? Under the row lock, like everything in the books."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Periods

from .connections import Connection

# Writes what can change of an organization, by its primary key.
UPDATE = """
UPDATE organizations SET currency = %s, time_zone = %s, expiry_policy = %s, known_scopes = %s WHERE organization = %s
"""

# The day of the newest reservation, by the newest-first index: the calendar only goes on, so none has a later one.
LAST_DAY = "SELECT day FROM reservations WHERE organization = %s ORDER BY created_at DESC LIMIT 1"

# Removes balances of periods that have not begun, by the primary key's first column; nothing is held or spent there.
FORGET = """
DELETE FROM balances WHERE organization = %s
    AND (budget_window = 'DAY' AND period > %s OR budget_window = 'MONTH' AND period > %s)
"""

# Organizations by name, or one of them, without a lock and by primary key.
LIST = """
SELECT organization, currency, time_zone, created_at FROM organizations
WHERE (%(organization)s = '' OR organization = %(organization)s) AND organization > %(after)s
ORDER BY organization LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An organization, and when it was opened."""

    organization: str
    currency: str
    time_zone: str
    created_at: datetime


async def list_organizations(connection: Connection, organization: str, after: str, limit: int) -> list[Listed]:
    """Return organizations behind a name, or the one that is asked for (empty: all)."""
    cursor = await connection.execute(LIST, {"organization": organization, "after": after, "limit": limit})
    return [
        Listed(organization=name, currency=currency, time_zone=time_zone, created_at=created_at)
        for name, currency, time_zone, created_at in await cursor.fetchall()
    ]


async def write_terms(connection: Connection, organization: Organization) -> None:
    """Write an organization's currency, time zone and policies."""
    await connection.execute(
        UPDATE,
        (
            organization.currency,
            organization.time_zone,
            organization.expiry_policy,
            organization.known_scopes,
            organization.organization,
        ),
    )


async def last_day(connection: Connection, organization: str) -> str:
    """Return the latest day that a reservation counts for; empty when there is no reservation."""
    row = await (await connection.execute(LAST_DAY, (organization,))).fetchone()
    return str(row[0]) if row else ""


async def forget_later(connection: Connection, organization: str, current: Periods) -> None:
    """Remove the balances of days and months after the current ones, which an earlier calendar had begun."""
    await connection.execute(FORGET, (organization, current.day, current.month))
