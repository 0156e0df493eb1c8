"""How are budgets read and changed?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatekeeper.domain.budget import Balance, BalanceKey, Budget, Enforcement, Floors, Scope, ScopeKind
from gatekeeper.domain.caps import Recapped
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Window

from . import rows
from .alerts import write_alerts
from .books import CLOCK, INSERT_EXCESSES, LOCK, OPEN_ORGANIZATION
from .connections import Connection
from .roundtrip import roundtrip

BUDGET_COLUMNS = (
    "b.scope_kind, b.scope_id, b.budget_window, b.cap, b.enforcement, b.thresholds, b.floor_normal, b.floor_batch,"
    " b.frozen, b.revision, b.reason, b.updated_at"
)
BALANCE_COLUMNS = (
    "p.period, p.cap, p.enforcement, p.reserved, p.spent, p.excess, p.would_deny_count, p.overridden, p.alerted_spent,"
    " p.alerted_used, p.alert_round"
)

# Budgets in the order of the primary key's meaning: the organization first, runs last.
RANK = (
    "CASE b.scope_kind WHEN 'ORGANIZATION' THEN 0 WHEN 'DEPARTMENT' THEN 1 WHEN 'CAMPAIGN' THEN 2"
    " WHEN 'AGENT' THEN 3 ELSE 4 END"
)

# Reads without a lock who an organization is, and what time it is.
ORGANIZATION = """
SELECT clock_timestamp(), organization, currency, time_zone, expiry_policy, known_scopes, price_version,
    overrides_until
FROM organizations WHERE organization = %s
"""

# Reads budgets with their balances in the given periods, without a lock, by the budgets' primary key.
LIST = f"""
SELECT {BUDGET_COLUMNS}, {BALANCE_COLUMNS}
FROM budgets b LEFT JOIN balances p ON p.organization = b.organization AND p.scope_kind = b.scope_kind
    AND p.scope_id = b.scope_id AND p.budget_window = b.budget_window AND p.period = ANY(%(periods)s)
WHERE b.organization = %(organization)s
    AND (%(kinds)s::text[] IS NULL
        OR (b.scope_kind, b.scope_id) IN (SELECT * FROM unnest(%(kinds)s::text[], %(ids)s::text[])))
    AND (%(kind)s::text IS NULL OR b.scope_kind = %(kind)s)
    AND (%(after)s::text[] IS NULL
        OR ({RANK}, b.scope_id, b.budget_window) > (%(rank)s, (%(after)s::text[])[1], (%(after)s::text[])[2]))
ORDER BY {RANK}, b.scope_id, b.budget_window
LIMIT %(limit)s
"""

# Sums what a budget that is set now has to count already: by the partial index on its scope, and that on open holds.
SUM_SPENT = "SELECT coalesce(sum(cost), 0) FROM executions WHERE organization = %s AND {scope} AND {period}"
SUM_RESERVED = (
    "SELECT coalesce(sum(amount), 0) FROM reservations"
    " WHERE organization = %s AND state = 'HELD' AND {scope} AND {period}"
)

# Writes a budget, by its primary key.
UPSERT_BUDGET = """
INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds, floor_normal,
    floor_batch, frozen, revision, reason, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())
ON CONFLICT (organization, scope_kind, scope_id, budget_window) DO UPDATE SET
    cap = excluded.cap, enforcement = excluded.enforcement, thresholds = excluded.thresholds,
    floor_normal = excluded.floor_normal, floor_batch = excluded.floor_batch, frozen = excluded.frozen,
    revision = excluded.revision, reason = excluded.reason, updated_at = excluded.updated_at
RETURNING updated_at
"""

# Writes a balance whose cap has changed, by its primary key.
RECAP_BALANCE = f"""
INSERT INTO balances (organization, {rows.BALANCE_COLUMNS})
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (organization, scope_kind, scope_id, budget_window, period) DO UPDATE SET
    cap = excluded.cap, enforcement = excluded.enforcement, excess = excluded.excess,
    alerted_spent = excluded.alerted_spent, alerted_used = excluded.alerted_used, alert_round = excluded.alert_round
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget with its balance in one period; None where no call has touched that period."""

    budget: Budget
    balance: Balance | None


async def find_organization(connection: Connection, organization: str) -> tuple[datetime, Organization] | None:
    """Return the time and the organization, without a lock."""
    row = await (await connection.execute(ORGANIZATION, (organization,))).fetchone()
    return (row[0], rows.organization(row[1:])) if row else None


async def lock_organization(connection: Connection, organization: str) -> tuple[datetime, Organization] | None:
    """Lock an organization's books until the transaction ends; return the time and the organization."""
    locked, clock = await roundtrip(connection, (LOCK, (organization,)), (CLOCK, (organization,)))
    return (clock[0][0], rows.organization(locked[0])) if locked else None


async def add_organization(connection: Connection, organization: str) -> bool:
    """Open an organization, unless it is open already; return whether it was not."""
    return bool((await connection.execute(OPEN_ORGANIZATION, (organization,))).rowcount)


async def list_budgets(
    connection: Connection,
    organization: str,
    *,
    periods: Sequence[str],
    limit: int,
    scopes: Sequence[Scope] | None = None,
    kind: ScopeKind | None = None,
    after: tuple[Scope, Window] | None = None,
) -> list[Standing]:
    """Return budgets, the organization's first, that come behind `after`."""
    parameters: dict[str, Any] = {
        "organization": organization,
        "periods": list(periods),
        "limit": limit,
        "kinds": None if scopes is None else [scope.kind.value for scope in scopes],
        "ids": None if scopes is None else [scope.id for scope in scopes],
        "kind": kind and kind.value,
        "rank": list(ScopeKind).index(after[0].kind) if after else None,
        "after": [after[0].id, after[1].value] if after else None,
    }
    cursor = await connection.execute(LIST, parameters)
    return [_standing(row) for row in await cursor.fetchall()]


def _standing(row: Sequence[Any]) -> Standing:
    (kind, scope_id, window, cap, enforcement, thresholds, floor_normal, floor_batch, frozen, revision, reason,
     updated_at, period, *balance) = row  # fmt: skip
    budget = Budget(
        scope=Scope(ScopeKind(kind), scope_id),
        window=Window(window),
        cap=cap,
        enforcement=Enforcement(enforcement),
        thresholds=tuple(thresholds),
        floors=Floors(floor_normal, floor_batch),
        frozen=frozen,
        revision=revision,
        reason=reason,
        updated_at=updated_at,
    )
    if period is None:
        return Standing(budget=budget, balance=None)
    key = BalanceKey(budget.scope, budget.window, period)
    return Standing(budget=budget, balance=rows.balance_of(key, budget, balance))


async def count_from_books(connection: Connection, organization: str, key: BalanceKey, budget: Budget) -> Balance:
    """Return the balance that a period has by its executions and open holds."""
    scope, period, parameters = rows.match(key)
    sums = []
    for statement in (SUM_RESERVED, SUM_SPENT):
        cursor = await connection.execute(statement.format(scope=scope, period=period), (organization, *parameters))
        row = await cursor.fetchone()
        assert row is not None
        sums.append(row[0])
    return budget.fresh(key.period)._replace(reserved=sums[0], spent=sums[1])


async def write_budget(connection: Connection, organization: str, budget: Budget) -> datetime:
    """Write a budget; return when."""
    cursor = await connection.execute(
        UPSERT_BUDGET,
        (
            organization,
            *budget.scope,
            budget.window,
            budget.cap,
            budget.enforcement,
            list(budget.thresholds),
            *budget.floors,
            budget.frozen,
            budget.revision,
            budget.reason,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    updated_at: datetime = row[0]
    return updated_at


async def write_recapped(connection: Connection, organization: str, recapped: Recapped) -> None:
    """Write a balance under its changed cap, what stands above it, and what is to be told."""
    await connection.execute(RECAP_BALANCE, (organization, *rows.of_balance(recapped.balance).values()))
    if recapped.excess is not None:
        await roundtrip(connection, (INSERT_EXCESSES, (organization, rows.as_json([rows.of_excess(recapped.excess)]))))
    if recapped.alerts:
        await write_alerts(connection, organization, recapped.alerts)
