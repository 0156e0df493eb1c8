"""How do the books stand as a whole? Figures for whoever watches the installation, read without locks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .connections import Connection
from .verification import OVERDUE_AFTER_S

# How long a statement may take: whoever scrapes waits no longer.
STATEMENT_TIMEOUT_S = 2
# Overdue holds are counted up to here in each organization: more is no other finding.
OVERDUE_MAX = 1000
# Budgets that are looked at for the fullest, shared evenly by organizations, and the least that each of them has.
LOOKED_AT_MAX = 20_000
LOOKED_AT_MIN = 10
# Older ones are history: somebody has looked, or nobody will.
DEAD_FOR_DAYS = 7

# Compiling a plan takes longer than any of these does.
LIMITS = f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'; SET LOCAL jit = off"

# What there is of each kind. Open holds: a scan of a table with one row for each caller. Overdue ones, which the sweep
# should have ended: reservations_open_idx, organization by organization. Alerts: alerts_waiting_idx,
# alert_deliveries_due_idx and alert_deliveries_dead_idx; one counts for each channel, or for none yet. Overrides:
# overrides_open_idx.
COUNTS = """
WITH waiting AS (
    SELECT '' AS channel, occurred_at FROM alerts WHERE dispatched_at IS NULL
    UNION ALL
    SELECT d.channel, a.occurred_at FROM alert_deliveries d JOIN alerts a USING (organization, alert_id)
    WHERE d.state = 'PENDING'
), open_overrides AS (
    SELECT state FROM overrides WHERE state IN ('PENDING', 'ACTIVE') AND expires_at > now()
)
SELECT
    (SELECT coalesce(sum(holds), 0)::bigint FROM open_holds WHERE caller = ''),
    (SELECT count(*) FROM organizations o CROSS JOIN LATERAL (
        SELECT FROM reservations
        WHERE organization = o.organization AND state = 'HELD'
            AND expires_at < now() - make_interval(secs => %(overdue_after_s)s)
        LIMIT %(overdue_max)s
    ) AS overdue),
    (SELECT coalesce(jsonb_object_agg(channel, alerts), '{}') FROM (
        SELECT channel, count(*) AS alerts FROM waiting GROUP BY channel
    ) AS of_channel),
    (SELECT coalesce(extract(epoch FROM now() - min(occurred_at)), 0)::float8 FROM waiting),
    (SELECT coalesce(jsonb_object_agg(channel, alerts), '{}') FROM (
        SELECT channel, count(*) AS alerts FROM alert_deliveries
        WHERE state = 'DEAD' AND next_attempt_at > now() - make_interval(days => %(dead_for_days)s)
        GROUP BY channel
    ) AS of_channel),
    (SELECT count(*) FROM open_overrides WHERE state = 'ACTIVE'),
    (SELECT count(*) FROM open_overrides WHERE state = 'PENDING')
"""

# The fullest budgets of the periods that organizations are in. Runs come and go by the million and are left out. Of the
# others, each organization has its share looked at, found by the primary keys of budgets and balances alone. Its own
# budgets come first, then the fullest of each organization, then the second of each, and so on; what can be no fuller
# (frozen, or with a cap of zero) takes no other's place.
FULLEST = """
WITH looked_at AS MATERIALIZED (
    SELECT greatest(%(looked_at_min)s, %(looked_at_max)s / greatest(1, count(*))) AS share FROM organizations
), standing AS (
    SELECT b.*, g.frozen OR b.cap = 0 AS is_dead,
        (CASE WHEN b.cap > 0 THEN (b.spent + b.reserved) / b.cap ELSE 1 END)::float8 AS utilization
    FROM organizations o
    CROSS JOIN LATERAL (SELECT now() AT TIME ZONE o.time_zone AS local_time OFFSET 0) AS there
    CROSS JOIN LATERAL (
        (SELECT * FROM budgets WHERE organization = o.organization AND scope_kind = 'ORGANIZATION')
        UNION ALL
        (SELECT * FROM budgets
            WHERE organization = o.organization AND scope_kind IN ('AGENT', 'CAMPAIGN', 'DEPARTMENT')
            LIMIT (SELECT share FROM looked_at))
    ) AS g
    CROSS JOIN LATERAL (
        SELECT * FROM balances
        WHERE organization = g.organization AND scope_kind = g.scope_kind AND scope_id = g.scope_id
            AND budget_window = g.budget_window
            AND period = CASE g.budget_window
                WHEN 'DAY' THEN to_char(local_time, 'YYYY-MM-DD')
                WHEN 'MONTH' THEN to_char(local_time, 'YYYY-MM')
                ELSE 'total' END
        LIMIT 1
    ) AS b
), placed AS (
    SELECT *, CASE scope_kind WHEN 'ORGANIZATION' THEN 0 ELSE row_number() OVER (
        PARTITION BY organization, scope_kind = 'ORGANIZATION'
        ORDER BY is_dead, utilization DESC, scope_kind, scope_id, budget_window
    ) END AS place FROM standing
)
SELECT organization, scope_kind, scope_id, budget_window,
    cap::float8, spent::float8, reserved::float8, excess::float8, overridden::float8, utilization
FROM placed
ORDER BY is_dead, place, utilization DESC, organization, scope_kind, scope_id, budget_window
LIMIT %(budgets_max)s
"""

# The newest of the servers' own verifications, by the primary key.
VERIFIED = """
SELECT started_at, finished_at, differences, audit_differences FROM verifications
WHERE organization = '' ORDER BY verification_id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullBudget:
    """How the current period of a budget stands, in its organization's currency; `utilization` is 1 at the cap."""

    organization: str
    scope_kind: str
    scope_id: str
    window: str
    cap: float
    spent: float
    reserved: float
    excess: float
    overridden: float
    utilization: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What the last of the servers' own verifications found, in the books and in the audit trail."""

    started_at: datetime
    finished_at: datetime
    differences: int
    audit_differences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many there are. Alerts by channel, those that are on none yet by ''; `alert_wait_s` is 0 if none waits."""

    holds_open: int
    holds_overdue: int
    alerts_waiting: Mapping[str, int]
    alert_wait_s: float
    alerts_dead: Mapping[str, int]
    overrides_active: int
    overrides_pending: int
    verified: Verified | None


async def read_counts(connection: Connection) -> Counts:
    """Return how many of each kind there are, and what was verified."""
    given = {"overdue_after_s": OVERDUE_AFTER_S, "overdue_max": OVERDUE_MAX, "dead_for_days": DEAD_FOR_DAYS}
    async with connection.transaction():
        await connection.execute(LIMITS)
        counted = await (await connection.execute(COUNTS, given)).fetchone()
        verified = await (await connection.execute(VERIFIED)).fetchone()
    assert counted is not None
    holds_open, overdue, waiting, wait_s, dead, active, pending = counted
    return Counts(
        holds_open=holds_open,
        holds_overdue=overdue,
        alerts_waiting=waiting,
        alert_wait_s=wait_s,
        alerts_dead=dead,
        overrides_active=active,
        overrides_pending=pending,
        verified=Verified(**dict(zip(Verified.__slots__, verified, strict=True))) if verified else None,
    )


async def read_fullest(connection: Connection, budgets_max: int) -> list[FullBudget]:
    """Return so many of the fullest budgets, shared evenly by organizations."""
    given = {"budgets_max": budgets_max, "looked_at_max": LOOKED_AT_MAX, "looked_at_min": LOOKED_AT_MIN}
    async with connection.transaction():
        await connection.execute(LIMITS)
        fullest = await connection.execute(FULLEST, given)
        return [FullBudget(**dict(zip(FullBudget.__slots__, row, strict=True))) for row in await fullest.fetchall()]
