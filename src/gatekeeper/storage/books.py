"""How do an organization's books get into memory, and the changes back?

A batch is one transaction and two round trips. The first takes the organization's row lock and reads, with snapshots
that are younger than the lock, what the batch needs; the second writes all rows, one statement for each table, and
commits. The lock comes first, so everything read after it is final: nobody else writes this organization's books.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatekeeper.domain.budget import Balance, BalanceKey, Budget, Scope
from gatekeeper.domain.ledger import Changes, Organization
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Execution, Reservation

from . import rows
from .connections import Connection, first

# Locks the organization's row (by its primary key) for as long as the transaction lasts. The clock is read outside
# the locking query, hence after the lock was granted: instants of an organization follow the order of its lock.
LOCK = """
WITH locked AS MATERIALIZED (
    SELECT organization, currency, time_zone, expiry_policy, known_scopes, price_version
    FROM organizations WHERE organization = %s FOR NO KEY UPDATE
)
SELECT clock_timestamp(), locked.* FROM locked
"""

# Reads reservations by primary key. No lock: the organization's covers them.
RESERVATIONS = f"""
SELECT {rows.RESERVATION_COLUMNS} FROM reservations WHERE organization = %s AND reservation_id = ANY(%s)
"""

# Reads the budgets of the asked scopes with their balances in the asked periods, both by primary key. No lock: the
# organization's covers them. A budget without a balance in such a period comes with NULLs.
BUDGETS = """
SELECT b.scope_kind, b.scope_id, b.budget_window, b.cap, b.enforcement, b.frozen,
       p.period, p.cap, p.enforcement, p.reserved, p.spent, p.excess, p.would_deny_count
FROM (SELECT DISTINCT kind, id FROM unnest(%s::text[], %s::text[]) AS asked(kind, id)) AS s
JOIN budgets b ON b.organization = %s AND b.scope_kind = s.kind AND b.scope_id = s.id
LEFT JOIN balances p ON p.organization = b.organization AND p.scope_kind = b.scope_kind AND p.scope_id = b.scope_id
    AND p.budget_window = b.budget_window AND p.period = ANY(%s)
"""

# The same for the scopes and periods of reservations, which only the database knows in the first round trip.
BUDGETS_OF_RESERVATIONS = """
SELECT b.scope_kind, b.scope_id, b.budget_window, b.cap, b.enforcement, b.frozen,
       p.period, p.cap, p.enforcement, p.reserved, p.spent, p.excess, p.would_deny_count
FROM (
    SELECT DISTINCT s.kind, s.id, s.day, s.month FROM reservations r
    CROSS JOIN LATERAL (VALUES
        ('ORGANIZATION', '', r.day, r.month),
        ('DEPARTMENT', nullif(r.department, ''), r.day, r.month),
        ('CAMPAIGN', nullif(r.campaign, ''), r.day, r.month),
        ('AGENT', nullif(r.agent, ''), r.day, r.month),
        ('RUN', nullif(r.run, ''), r.day, r.month)
    ) AS s(kind, id, day, month)
    WHERE r.organization = %s AND r.reservation_id = ANY(%s) AND s.id IS NOT NULL
) AS s
JOIN budgets b ON b.organization = %s AND b.scope_kind = s.kind AND b.scope_id = s.id
LEFT JOIN balances p ON p.organization = b.organization AND p.scope_kind = b.scope_kind AND p.scope_id = b.scope_id
    AND p.budget_window = b.budget_window AND p.period IN (s.day, s.month, 'total')
"""

# Opens an organization that is seen for the first time. Waits for another transaction that does the same.
OPEN_ORGANIZATION = "INSERT INTO organizations (organization) VALUES (%s) ON CONFLICT DO NOTHING"

# When the earliest open hold of a scope and period expires, by the index on open holds; `column` is a scope's.
EARLIEST_EXPIRY = """
SELECT expires_at FROM reservations
WHERE organization = %s AND state = 'HELD' AND {scope} AND {period} AND reservation_id <> ALL(%s)
ORDER BY expires_at LIMIT 1
"""

# Writes new reservations.
INSERT_RESERVATIONS = f"""
INSERT INTO reservations (organization, {rows.RESERVATION_COLUMNS})
SELECT %s, {rows.RESERVATION_VALUES} FROM json_to_recordset(%s) AS r({rows.RESERVATION_TYPES})
"""

# Writes what can change of a reservation, by primary key.
UPDATE_RESERVATIONS = f"""
UPDATE reservations SET amount = r.amount, state = r.state, expires_at = r.expires_at, ended_at = r.ended_at,
    ended_by = r.ended_by, commit_digest = decode(r.commit_digest, 'hex'), charged = r.charged,
    committed = r.committed, late = r.late
FROM json_to_recordset(%s) AS r({rows.RESERVATION_TYPES})
WHERE reservations.organization = %s AND reservations.reservation_id = r.reservation_id
"""

# Writes entries of the billing log.
INSERT_EXECUTIONS = f"""
INSERT INTO executions (organization, {rows.EXECUTION_COLUMNS})
SELECT %s, {rows.EXECUTION_COLUMNS} FROM json_to_recordset(%s) AS r({rows.EXECUTION_TYPES})
"""

# Writes balances, new or changed, by primary key.
UPSERT_BALANCES = f"""
INSERT INTO balances (organization, {rows.BALANCE_COLUMNS})
SELECT %s, {rows.BALANCE_COLUMNS} FROM json_to_recordset(%s) AS r({rows.BALANCE_TYPES})
ON CONFLICT (organization, scope_kind, scope_id, budget_window, period) DO UPDATE SET
    reserved = excluded.reserved, spent = excluded.spent, excess = excluded.excess,
    would_deny_count = excluded.would_deny_count
"""

INSERT_EXCESSES = f"""
INSERT INTO excesses (organization, recorded_at, {rows.EXCESS_COLUMNS})
SELECT %s, clock_timestamp(), {rows.EXCESS_COLUMNS} FROM json_to_recordset(%s) AS r({rows.EXCESS_TYPES})
"""

INSERT_DENIALS = f"""
INSERT INTO denials (organization, {rows.DENIAL_COLUMNS})
SELECT %s, {rows.DENIAL_COLUMNS} FROM json_to_recordset(%s) AS r({rows.DENIAL_TYPES})
"""

EXECUTION = f"""
SELECT {rows.EXECUTION_COLUMNS} FROM executions WHERE organization = %s AND reservation_id = %s AND kind = 'COMMIT'
"""

# Which organizations have a reservation of this id, by the index on it; two are enough to know that it is ambiguous.
ORGANIZATIONS_OF = "SELECT organization FROM reservations WHERE reservation_id = %s LIMIT 2"

# Overdue holds of all organizations, by the index on open holds, the longest overdue first within each.
OVERDUE = """
SELECT o.organization, r.reservation_id FROM organizations o
CROSS JOIN LATERAL (
    SELECT reservation_id FROM reservations
    WHERE organization = o.organization AND state = 'HELD' AND expires_at <= clock_timestamp()
    ORDER BY expires_at LIMIT %s
) AS r
LIMIT %s
"""


@dataclass(slots=True, kw_only=True)
class Books:
    """What the first round trip brought: the organization is None when nobody opened it yet."""

    now: datetime
    organization: Organization | None
    budgets: dict[tuple[Scope, Window], Budget]
    balances: dict[BalanceKey, Balance]
    reservations: dict[str, Reservation]


async def open_books(
    connection: Connection,
    organization: str,
    *,
    scopes: Collection[Scope],
    periods: Sequence[str],
    reservation_ids: Sequence[str],
    begin: bool = True,
) -> Books | None:
    """Lock an organization's books and read what a batch needs, in one round trip. None: no such organization.

    `periods` are those that new reservations are expected to fall in; the caller looks at `now` and asks again with
    `read_budgets` when midnight has passed in between.
    """
    async with connection.pipeline():
        if begin:
            await connection.execute("BEGIN")
        locked = await connection.execute(LOCK, (organization,), prepare=True, binary=True)
        held = await connection.execute(RESERVATIONS, (organization, reservation_ids), prepare=True, binary=True)
        asked = await _budgets_cursor(connection, organization, scopes, periods)
        of_held = await connection.execute(
            BUDGETS_OF_RESERVATIONS, (organization, reservation_ids, organization), prepare=True, binary=True
        )
        row = await locked.fetchone()
        if row is None:
            return None
        books = Books(
            now=row[0],
            organization=rows.organization(row[1:]),
            budgets={},
            balances={},
            reservations={held_row[0]: rows.reservation(held_row) for held_row in await held.fetchall()},
        )
        rows.add_budgets(books.budgets, books.balances, await asked.fetchall())
        rows.add_budgets(books.budgets, books.balances, await of_held.fetchall())
    return books


async def read_budgets(
    connection: Connection, organization: str, books: Books, scopes: Collection[Scope], periods: Sequence[str]
) -> None:
    """Add the budgets of `scopes` and their balances in `periods` to the books."""
    cursor = await _budgets_cursor(connection, organization, scopes, periods)
    rows.add_budgets(books.budgets, books.balances, await cursor.fetchall())


async def _budgets_cursor(
    connection: Connection, organization: str, scopes: Collection[Scope], periods: Sequence[str]
) -> Any:
    kinds = [scope.kind.value for scope in scopes]
    ids = [scope.id for scope in scopes]
    return await connection.execute(BUDGETS, (kinds, ids, organization, list(periods)), prepare=True, binary=True)


async def close_books(connection: Connection, organization: str, changes: Changes) -> None:
    """Write all changes and commit, in one round trip."""
    async with connection.pipeline():
        for statement, parameters in _writes(organization, changes):
            await connection.execute(statement, parameters, prepare=True)
        await connection.execute("COMMIT")


def _writes(organization: str, changes: Changes) -> list[tuple[str, tuple[str, str]]]:
    writes: list[tuple[str, tuple[str, str]]] = []

    def write(statement: str, records: list[dict[str, Any]], *, organization_last: bool = False) -> None:
        if records:
            document = rows.as_json(records)
            writes.append((statement, (document, organization) if organization_last else (organization, document)))

    write(INSERT_RESERVATIONS, [rows.of_reservation(held) for held in changes.made.values()])
    write(UPDATE_RESERVATIONS, [rows.of_reservation(held) for held in changes.changed.values()], organization_last=True)
    write(INSERT_EXECUTIONS, [rows.of_execution(execution) for execution in changes.executions])
    write(INSERT_DENIALS, [rows.of_denial(denial) for denial in changes.denials])
    write(INSERT_EXCESSES, [rows.of_excess(excess) for excess in changes.excesses])
    write(UPSERT_BALANCES, [rows.of_balance(balance) for balance in changes.balances.values()])
    return writes


async def open_organization(connection: Connection, organization: str, budget: Budget) -> None:
    """Open an organization with one budget, unless it is open already."""
    await connection.execute(OPEN_ORGANIZATION, (organization,))
    await connection.execute(
        "INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (organization, *budget.scope, budget.window, budget.cap, budget.enforcement, list(budget.thresholds)),
    )


async def earliest_expiry(
    connection: Connection, organization: str, key: BalanceKey, ended: Sequence[str]
) -> datetime | None:
    """Return when the first open hold of a budget's period expires, but for those that this batch has `ended`."""
    scope, period, parameters = rows.match(key)
    cursor = await connection.execute(
        EARLIEST_EXPIRY.format(scope=scope, period=period), (organization, *parameters, list(ended))
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def find_execution(connection: Connection, organization: str, reservation_id: str) -> Execution | None:
    """Return what a reservation's commit recorded."""
    cursor = await connection.execute(EXECUTION, (organization, reservation_id), binary=True)
    row = await cursor.fetchone()
    return rows.execution(row) if row else None


async def organizations_of(connection: Connection, reservation_id: str) -> list[str]:
    """Return the organizations that have a reservation of this id, at most two."""
    cursor = await connection.execute(ORGANIZATIONS_OF, (reservation_id,))
    return [row[0] for row in await cursor.fetchall()]


async def overdue(connection: Connection, *, per_organization: int, limit: int) -> Mapping[str, list[str]]:
    """Return the ids of overdue holds by organization."""
    cursor = await connection.execute(OVERDUE, (per_organization, limit))
    found: dict[str, list[str]] = {}
    for organization, reservation_id in await cursor.fetchall():
        found.setdefault(organization, []).append(reservation_id)
    return found


async def database_now(connection: Connection) -> datetime:
    """Return the ledger's clock."""
    cursor = await connection.execute("SELECT clock_timestamp()")
    now: datetime = first(await cursor.fetchone())
    return now
