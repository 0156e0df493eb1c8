"""Which budgets might be used up before their period ends?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatekeeper.domain.alerts import AlertKind
from gatekeeper.domain.budget import Alerted, Balance, BalanceKey, Enforcement, Scope, ScopeKind
from gatekeeper.domain.burn_rate import CAP_PERCENT_MIN
from gatekeeper.domain.periods import Periods, Window

from .connections import Connection

# By which calendars organizations go. Reads the table from end to end: a row for each organization.
TIME_ZONES = "SELECT DISTINCT time_zone FROM organizations"

# Reads balances of current periods that are used enough to predict anything and were not told of in this round, a page
# of them behind a budget. Without a lock, in the order of the budgets' primary key; the organization, the balance and
# the alert of each are looked up by organizations_pkey, balances_pkey and alerts_once_idx. OFFSET 0 keeps the planner
# from turning that round: there may be a balance for every day of the past.
PAGE = f"""
SELECT b.organization, o.currency, o.time_zone, b.scope_kind, b.scope_id, b.budget_window, p.period, p.cap,
       p.enforcement, p.reserved, p.spent, p.alert_round
FROM budgets b
CROSS JOIN LATERAL (
    SELECT currency, time_zone FROM organizations WHERE organization = b.organization OFFSET 0
) AS o
JOIN unnest(%(time_zones)s::text[], %(days)s::text[], %(months)s::text[]) AS c(time_zone, day, month)
    ON c.time_zone = o.time_zone
CROSS JOIN LATERAL (
    SELECT * FROM balances
    WHERE organization = b.organization AND scope_kind = b.scope_kind AND scope_id = b.scope_id
        AND budget_window = b.budget_window AND period = CASE b.budget_window WHEN 'DAY' THEN c.day ELSE c.month END
    OFFSET 0
) AS p
WHERE b.budget_window <> 'TOTAL' AND NOT b.frozen
    AND (b.organization, b.scope_kind, b.scope_id, b.budget_window) > (%(organization)s, %(kind)s, %(id)s, %(window)s)
    AND p.cap > 0 AND p.spent < p.cap AND 100 * p.spent >= {CAP_PERCENT_MIN} * p.cap
    AND NOT EXISTS (
        SELECT FROM alerts a
        WHERE (a.organization, a.kind, a.scope_kind, a.scope_id, a.budget_window, a.period, a.basis, a.threshold,
               a.round, a.subject)
            = (p.organization, '{AlertKind.BURN_RATE}', p.scope_kind, p.scope_id, p.budget_window, p.period, '', 0,
               p.alert_round, ''))
ORDER BY b.organization, b.scope_kind, b.scope_id, b.budget_window
LIMIT %(limit)s
"""

# Each page by its indexes, also where nothing is known of the tables.
BY_INDEX = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off; SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL jit = off
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A balance of an organization's current period."""

    organization: str
    currency: str
    time_zone: str
    balance: Balance


async def read_time_zones(connection: Connection) -> list[str]:
    """Return the names of all calendars."""
    cursor = await connection.execute(TIME_ZONES)
    return [row[0] for row in await cursor.fetchall()]


async def read_page(
    connection: Connection, calendars: Mapping[str, Periods], after: Candidate | None, limit: int
) -> list[Candidate]:
    """Return the first candidates behind `after`; `calendars` are the current periods by time zone."""
    scope, window = (after.balance.key.scope, after.balance.key.window) if after else (("", ""), "")
    parameters = {
        "time_zones": [*calendars],
        "days": [periods.day for periods in calendars.values()],
        "months": [periods.month for periods in calendars.values()],
        "organization": after.organization if after else "",
        "kind": scope[0],
        "id": scope[1],
        "window": window,
        "limit": limit,
    }
    cursor = await connection.execute(PAGE, parameters)
    return [_candidate(row) for row in await cursor.fetchall()]


def _candidate(row: Sequence[Any]) -> Candidate:
    organization, currency, time_zone, kind, scope_id, window, period, cap, enforcement, reserved, spent, told = row
    balance = Balance(
        BalanceKey(Scope(ScopeKind(kind), scope_id), Window(window), period),
        cap,
        Enforcement(enforcement),
        frozen=False,
        reserved=reserved,
        spent=spent,
        alerted=Alerted(round=told),
    )
    return Candidate(organization=organization, currency=currency, time_zone=time_zone, balance=balance)
