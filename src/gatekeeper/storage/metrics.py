"""How do the books stand as a whole? Figures for whoever watches the installation, read without locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .connections import Connection
from .verification import OVERDUE_AFTER_S

# How long a statement may take: whoever scrapes waits no longer.
STATEMENT_TIMEOUT_S = 2
# Overdue holds are counted up to here in each organization: more is no other finding.
OVERDUE_MAX = 1000

LIMITS = f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"

# What there is of each kind. Open holds: a scan of a table with one row for each caller. Overdue ones, which the sweep
# should have ended: reservations_open_idx, organization by organization. Alerts: alerts_waiting_idx,
# alert_deliveries_due_idx and alert_deliveries_dead_idx; one counts for each channel. Overrides: overrides_open_idx.
COUNTS = """
WITH waiting AS (
    SELECT occurred_at FROM alerts WHERE dispatched_at IS NULL
    UNION ALL
    SELECT a.occurred_at FROM alert_deliveries d JOIN alerts a USING (organization, alert_id) WHERE d.state = 'PENDING'
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
    (SELECT count(*) FROM waiting),
    (SELECT coalesce(extract(epoch FROM now() - min(occurred_at)), 0)::float8 FROM waiting),
    (SELECT count(*) FROM alert_deliveries WHERE state = 'DEAD'),
    (SELECT count(*) FROM open_overrides WHERE state = 'ACTIVE'),
    (SELECT count(*) FROM open_overrides WHERE state = 'PENDING')
"""

# The fullest budgets of the periods that organizations are in, each found by the primary key of balances. A cap of zero
# counts as used up.
FULLEST = """
SELECT b.organization, b.scope_kind, b.scope_id, b.budget_window,
    b.cap::float8, b.spent::float8, b.reserved::float8, b.excess::float8, b.overridden::float8,
    (CASE WHEN b.cap > 0 THEN (b.spent + b.reserved) / b.cap ELSE 1 END)::float8 AS utilization
FROM organizations o
CROSS JOIN LATERAL (SELECT now() AT TIME ZONE o.time_zone AS local_time OFFSET 0) AS there
JOIN budgets g ON g.organization = o.organization
JOIN balances b ON b.organization = g.organization AND b.scope_kind = g.scope_kind AND b.scope_id = g.scope_id
    AND b.budget_window = g.budget_window
    AND b.period = CASE g.budget_window
        WHEN 'DAY' THEN to_char(local_time, 'YYYY-MM-DD')
        WHEN 'MONTH' THEN to_char(local_time, 'YYYY-MM')
        ELSE 'total' END
ORDER BY utilization DESC, b.organization, b.scope_kind, b.scope_id, b.budget_window
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
class Figures:
    """How the books stand. `alert_wait_s` is the age of the oldest alert that waits, 0 if none does."""

    holds_open: int
    holds_overdue: int
    alerts_waiting: int
    alert_wait_s: float
    alerts_dead: int
    overrides_active: int
    overrides_pending: int
    budgets: Sequence[FullBudget]
    verified: Verified | None


async def read_figures(connection: Connection, budgets_max: int) -> Figures:
    """Return how the books stand, with so many of the fullest budgets."""
    async with connection.transaction():
        await connection.execute(LIMITS)
        counts = await connection.execute(COUNTS, {"overdue_after_s": OVERDUE_AFTER_S, "overdue_max": OVERDUE_MAX})
        counted = await counts.fetchone()
        assert counted is not None
        holds_open, overdue, waiting, wait_s, dead, active, pending = counted
        fullest = await connection.execute(FULLEST, {"budgets_max": budgets_max})
        budgets = [FullBudget(**dict(zip(FullBudget.__slots__, row, strict=True))) for row in await fullest.fetchall()]
        verified = await (await connection.execute(VERIFIED)).fetchone()
    return Figures(
        holds_open=holds_open,
        holds_overdue=overdue,
        alerts_waiting=waiting,
        alert_wait_s=wait_s,
        alerts_dead=dead,
        overrides_active=active,
        overrides_pending=pending,
        budgets=budgets,
        verified=Verified(**dict(zip(Verified.__slots__, verified, strict=True))) if verified else None,
    )
