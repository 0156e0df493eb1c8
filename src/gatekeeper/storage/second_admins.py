"""Which admins are there, and what has one granted without a second? Read under the organization's lock."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from gatekeeper.domain.access import Caller
from gatekeeper.domain.second_admins import ALONE_FOR, AdminToken, Hand

from .connections import Connection, first

# Adds up what is in force, by the index on open ones, and what has paid and was over since, by the newest-first index:
# it came into force a ttl before its end, and waited for two admins before, a day for each.
GRANTED_ALONE = """
SELECT coalesce(sum(amount), 0) FROM (
    SELECT max_amount AS amount, granted_by, granted_by_id, approved_by FROM overrides
    WHERE organization = %(organization)s AND state = 'ACTIVE' AND expires_at > %(now)s
    UNION ALL
    SELECT reserved + spent, granted_by, granted_by_id, approved_by FROM overrides
    WHERE organization = %(organization)s AND created_at > %(since)s::timestamptz - interval '2 days'
        AND expires_at - ttl > %(since)s AND (state = 'ENDED' OR state = 'ACTIVE' AND expires_at <= %(now)s)
) AS granted
WHERE approved_by = '' AND granted_by_id = ANY(%(token_ids)s) AND (granted_by_id <> '' OR granted_by = %(name)s)
"""

# Reads the tokens of admins and operators, ended ones too, by the primary key's first column.
ADMINS = """
SELECT organization, token_id, name, created_at, created_by FROM tokens
WHERE organization IN (%s, '') AND role IN ('ADMIN', 'OPERATOR')
"""


async def granted_alone(
    connection: Connection, organization: str, caller: Caller, hand: Hand, now: datetime
) -> Decimal:
    """Add up what is in force, or has lately paid, of what a caller and its hand have granted without a second one."""
    parameters = {
        "organization": organization,
        "now": now,
        "since": now - ALONE_FOR,
        "token_ids": [*hand.token_ids],
        "name": caller.name,
    }
    return Decimal(first(await (await connection.execute(GRANTED_ALONE, parameters)).fetchone()))


async def admin_tokens(connection: Connection, organization: str) -> list[AdminToken]:
    """Return what is known of the organization's admins, and of operators."""
    return [AdminToken(*row) for row in await (await connection.execute(ADMINS, (organization,))).fetchall()]
