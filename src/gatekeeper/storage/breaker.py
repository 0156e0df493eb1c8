"""What have runs and agents spent within the last minute, and in the hour before it?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gatekeeper.domain.breaker import ACTIVE_MINUTES_MIN, HOUR, MINUTE, Normal
from gatekeeper.domain.budget import Scope, ScopeKind

from .connections import Connection, first
from .rows import SCOPE_COLUMNS

# An execution under each scope that is watched.
WATCHED = "(VALUES ('RUN', e.run), ('AGENT', e.agent)) AS v(kind, id)"

# Sums the executions of the last minute by run and by agent, without a lock: of each organization by
# executions_newest_idx, which is one probe for those that have none.
LAST_MINUTE = f"""
SELECT o.organization, o.currency, s.kind, s.id, s.spent FROM organizations o
CROSS JOIN LATERAL (
    SELECT v.kind, v.id, sum(e.cost) AS spent FROM executions e CROSS JOIN LATERAL {WATCHED}
    WHERE e.organization = o.organization AND e.committed_at > %(since)s AND v.id <> ''
    GROUP BY v.kind, v.id HAVING sum(e.cost) > %(least)s
    OFFSET 0
) AS s
ORDER BY s.spent DESC
"""

# Sums an organization's executions of the hour before by run and by agent, and counts the minutes that cost anything,
# without a lock, by executions_newest_idx. Those that have no normal are left out.
HOUR_BEFORE = f"""
SELECT kind, id, sum(spent), count(*) FROM (
    SELECT v.kind, v.id, sum(e.cost) AS spent FROM executions e CROSS JOIN LATERAL {WATCHED}
    WHERE e.organization = %(organization)s AND e.committed_at > %(since)s AND e.committed_at <= %(until)s
        AND v.id <> ''
    GROUP BY v.kind, v.id, floor(extract(epoch FROM %(until)s - e.committed_at) / 60)
) AS minutes
WHERE spent > 0 GROUP BY kind, id HAVING count(*) >= {ACTIVE_MINUTES_MIN}
"""

# Sums what one of them has spent since an instant, without a lock, by executions_newest_idx.
SINCE = """
SELECT coalesce(sum(cost), 0) FROM executions
WHERE organization = %(organization)s AND committed_at > %(since)s AND {column} = %(id)s
"""

# By that index, also where nothing is known of the tables.
BY_INDEX = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a run or agent has spent within the last minute."""

    organization: str
    currency: str
    scope: Scope
    spent: Decimal


async def read_last_minute(connection: Connection, now: datetime, least: Decimal) -> list[Spending]:
    """Return who has spent more than `least` within the last minute, the most first."""
    cursor = await connection.execute(LAST_MINUTE, {"since": now - MINUTE, "least": least})
    return [
        Spending(organization=organization, currency=currency, scope=Scope(ScopeKind(kind), scope_id), spent=spent)
        for organization, currency, kind, scope_id, spent in await cursor.fetchall()
    ]


async def read_normals(connection: Connection, organization: str, now: datetime) -> dict[Scope, Normal]:
    """Return what is normal for an organization's runs and agents, of those that have a normal."""
    until = now - MINUTE
    cursor = await connection.execute(
        HOUR_BEFORE, {"organization": organization, "since": until - HOUR, "until": until}
    )
    return {
        Scope(ScopeKind(kind), scope_id): Normal(spent, minutes)
        for kind, scope_id, spent, minutes in await cursor.fetchall()
    }


async def spent_since(connection: Connection, organization: str, scope: Scope, since: datetime) -> Decimal:
    """Return what a run or agent has spent since an instant."""
    statement = SINCE.format(column=SCOPE_COLUMNS[scope.kind])
    cursor = await connection.execute(statement, {"organization": organization, "since": since, "id": scope.id})
    spent: Decimal = first(await cursor.fetchone())
    return spent
