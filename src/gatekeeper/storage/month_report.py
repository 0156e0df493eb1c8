"""What beside spend is in a month's report? Denials, how holds ended, how well they were estimated, overrides."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from gatekeeper.domain.budget import BalanceKey, Scope, ScopeKind
from gatekeeper.domain.burn_rate import Span as Bounds
from gatekeeper.domain.evidence import CallerHolds, HoldAccuracy
from gatekeeper.domain.invoices import Span
from gatekeeper.domain.month_figures import DeniedCalls
from gatekeeper.domain.periods import Window

from .connections import Connection
from .statements import SLACK

# Rows of one kind that a report shows at most, the weightiest first.
ROWS_MAX = 50

# Counts a month's denials by reason and budget, the most frequent first, with how many there are in all. No lock; by
# denials_newest_idx, bounded in time.
DENIALS = """
SELECT sum(count(*)) OVER (), reason, scope_kind, scope_id, budget_window, period, count(*), sum(requested)
FROM denials WHERE organization = %s AND denied_at >= %s AND denied_at < %s
GROUP BY reason, scope_kind, scope_id, budget_window, period
ORDER BY count(*) DESC, reason, scope_kind, scope_id, budget_window, period
LIMIT %s
"""

# Counts how a month's holds ended by caller, those with the most that expired first; one that was committed after it
# expired is not charged any more. No lock; by reservations_newest_idx, bounded in time, and the tokens' primary key.
CALLERS = """
SELECT found.caller, coalesce(t.name, ''), found.holds, found.expired, found.amount, found.charged
FROM (
    SELECT caller, count(*) AS holds, count(*) FILTER (WHERE state = 'EXPIRED') AS expired,
           coalesce(sum(amount) FILTER (WHERE state = 'EXPIRED'), 0) AS amount,
           coalesce(sum(charged) FILTER (WHERE committed IS NULL), 0) AS charged
    FROM reservations
    WHERE organization = %(organization)s AND created_at >= %(since)s AND created_at < %(until)s AND month = %(month)s
    GROUP BY caller
) AS found
LEFT JOIN tokens t ON t.organization IN (%(organization)s, '') AND t.token_id = found.caller
WHERE found.expired > 0
ORDER BY found.amount DESC, found.caller
LIMIT %(limit)s
"""

# Compares what a month's calls cost with what was held for them, by agent type; but for those that nothing was held
# for, or no longer. No lock; by executions_newest_idx from the month's beginning on.
ACCURACY = """
SELECT agent_type, count(*), sum(reserved_amount), sum(cost), percentile_disc(0.95) WITHIN GROUP (ORDER BY cost),
       avg(unused), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY unused)
FROM (
    SELECT agent_type, reserved_amount, cost, (100 * (reserved_amount - cost) / reserved_amount)::float8 AS unused
    FROM executions
    WHERE organization = %s AND month = %s AND committed_at >= %s AND committed_at < %s
        AND kind = 'COMMIT' AND NOT late AND reserved_amount > 0
) AS found
GROUP BY agent_type
ORDER BY count(*) DESC, agent_type
"""

# Adds up what failed calls of a month cost. No lock; by executions_newest_idx from the month's beginning on.
FAILED = """
SELECT agent, agent_type, sum(cost)
FROM executions
WHERE organization = %s AND month = %s AND committed_at >= %s AND committed_at < %s AND outcome = 'FAILED'
GROUP BY agent, agent_type
"""

# Reads who granted overrides and why, by their primary key.
OVERRIDES = "SELECT override_id, reason, granted_by FROM overrides WHERE organization = %s AND override_id = ANY(%s)"


async def read_denials(connection: Connection, organization: str, bounds: Bounds) -> tuple[int, Sequence[DeniedCalls]]:
    """Return how many calls were denied within a month, and the most frequent reasons and budgets."""
    cursor = await connection.execute(DENIALS, (organization, bounds.start, bounds.end, ROWS_MAX))
    found = await cursor.fetchall()
    denials = []
    for _, reason, kind, scope_id, window, period, calls, requested in found:
        key = BalanceKey(Scope(ScopeKind(kind), scope_id), Window(window), period) if kind else None
        denials.append(DeniedCalls(reason=reason, key=key, calls=calls, requested=requested))
    return int(found[0][0]) if found else 0, denials


async def read_callers(connection: Connection, organization: str, month: str, bounds: Bounds) -> Sequence[CallerHolds]:
    """Return the callers whose holds expired, those with the most money in them first."""
    parameters = {
        "organization": organization,
        "since": bounds.start - SLACK,
        "until": bounds.end + SLACK,
        "month": month,
        "limit": ROWS_MAX,
    }
    cursor = await connection.execute(CALLERS, parameters)
    return [
        CallerHolds(caller=caller, name=name, holds=holds, expired=expired, amount=amount, charged=charged)
        for caller, name, holds, expired, amount, charged in await cursor.fetchall()
    ]


async def read_accuracy(
    connection: Connection, organization: str, recorded: Span, bounds: Bounds
) -> Sequence[HoldAccuracy]:
    """Return how well each agent type's calls were estimated."""
    cursor = await connection.execute(ACCURACY, _executed(organization, recorded, bounds))
    return [
        HoldAccuracy(
            agent_type=agent_type,
            calls=calls,
            reserved=reserved,
            cost=cost,
            cost_p95=cost_p95,
            unused_mean=mean,
            unused_p50=percentiles[0],
            unused_p95=percentiles[1],
        )
        for agent_type, calls, reserved, cost, cost_p95, mean, percentiles in await cursor.fetchall()
    ]


async def read_failed_costs(
    connection: Connection, organization: str, recorded: Span, bounds: Bounds
) -> dict[tuple[str, str], Decimal]:
    """Return what failed calls cost, by agent and agent type."""
    cursor = await connection.execute(FAILED, _executed(organization, recorded, bounds))
    return {(agent, agent_type): cost for agent, agent_type, cost in await cursor.fetchall()}


def _executed(organization: str, recorded: Span, bounds: Bounds) -> tuple[object, ...]:
    return organization, recorded.period, bounds.start - SLACK, recorded.recorded_before


async def read_overrides(
    connection: Connection, organization: str, override_ids: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Return why overrides were granted, and by whom."""
    cursor = await connection.execute(OVERRIDES, (organization, list(override_ids)))
    return {override_id: (reason, granted_by) for override_id, reason, granted_by in await cursor.fetchall()}
