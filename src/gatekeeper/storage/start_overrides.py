"""Which organizations still have no override of a server's start?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from .connections import Connection

# Finds organizations (or looks at one) where servers have made no override of this id at their start, and no earlier
# one is in force or was ended `since`: of ids with a day in them, by the primary key. In any order, so that one whose
# books are locked for long keeps no other waiting.
WITHOUT = """
SELECT organization FROM organizations o
WHERE (%(organization)s::text IS NULL OR organization = %(organization)s) AND NOT EXISTS (
    SELECT FROM overrides
    WHERE organization = o.organization AND override_id BETWEEN %(oldest_id)s AND %(newest_id)s
        AND (override_id = %(override_id)s
            OR starts_with(override_id, %(prefix)s)
                AND (state = 'ACTIVE' AND expires_at > %(now)s OR state = 'ENDED' AND ended_at > %(since)s))
)
ORDER BY random() LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The override of a start, and which others stand in its way: from the oldest to the newest id, begun by `prefix`.

    One that is in force `now`, or was ended by an admin `since`.
    """

    override_id: str
    prefix: str
    oldest_id: str
    newest_id: str
    now: datetime
    since: datetime


async def without(
    connection: Connection, start: Start, *, organization: str | None = None, limit: int = 1
) -> list[str]:
    """Return organizations, or the one that is asked about, that have none and that nothing keeps from it."""
    parameters = asdict(start) | {"organization": organization, "limit": limit}
    return [row[0] for row in await (await connection.execute(WITHOUT, parameters)).fetchall()]
