"""How do an organization's terms change? Under its row lock, like everything in its books."""

from __future__ import annotations

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
