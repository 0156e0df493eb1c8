"""How do an organization's books get into memory, and the changes back?

A batch is one transaction and two round trips. The first takes the organization's row lock and reads, with snapshots
that are younger than the lock, what the batch needs; the second writes all rows, one statement for each table, and
commits. The lock comes first, so everything read after it is final: nobody else writes this organization's books.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.budget import Balance, BalanceKey, Budget, Scope
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Periods, Window
from gatekeeper.domain.reservation import Execution, Reservation
from gatekeeper.domain.verdicts import Changes, Denial

from . import audit, override_rows, rows
from .alerts import INSERT_ALERTS
from .connections import Connection, first
from .override_rows import BOOK_OVERRIDES
from .roundtrip import Statement, roundtrip

# Locks the organization's row (by its primary key) for as long as the transaction lasts.
LOCK = Statement(
    "lock",
    """
SELECT organization, currency, time_zone, expiry_policy, known_scopes, price_version, overrides_until
FROM organizations WHERE organization = $1 FOR NO KEY UPDATE
""",
)

# Reads the clock, in a statement of its own behind the lock, so that its snapshot is younger than the lock. The time
# never steps back behind the newest reservation and execution (one probe each of the newest-first indexes), nor behind
# what invoices have (in the locked row), whatever happens to the machine's clock: a period that has begun is not left
# again, and what was recorded before an instant that has been read stays as it is, for the rollups and for invoices.
CLOCK = Statement(
    "clock",
    """
SELECT greatest(
    clock_timestamp(),
    (SELECT max(created_at) FROM reservations WHERE organization = $1),
    (SELECT max(committed_at) FROM executions WHERE organization = $1),
    (SELECT billed_until FROM organizations WHERE organization = $1))
""",
)

# Reads reservations by primary key, with the count of their callers' open holds. No lock: the organization's covers
# them. Each id is looked up by itself, and OFFSET 0 keeps the planner from turning that round: planned on a small
# table, a list of ids would be looked for among all reservations of the organization, and this plan stays with the
# connection while the table grows.
RESERVATIONS = Statement(
    "reservations",
    f"""
SELECT r.*, h.holds FROM json_array_elements_text($2) AS asked(id)
CROSS JOIN LATERAL (
    SELECT {rows.RESERVATION_COLUMNS} FROM reservations
    WHERE organization = $1 AND reservation_id = asked.id OFFSET 0
) AS r
LEFT JOIN LATERAL (
    SELECT holds FROM open_holds WHERE organization = $1 AND caller = r.caller OFFSET 0
) AS h ON true
""",
)

# Reads the count of callers' open holds by primary key. No lock: the organization's covers them.
OPEN_HOLDS = Statement(
    "open_holds",
    """
SELECT h.* FROM json_array_elements_text($2) AS asked(caller)
CROSS JOIN LATERAL (
    SELECT caller, holds FROM open_holds WHERE organization = $1 AND caller = asked.caller OFFSET 0
) AS h
""",
)

# What is read of a budget and its balance, looked up one by one for the same reason.
STANDING = """
SELECT b.scope_kind, b.scope_id, b.budget_window, b.cap, b.enforcement, b.frozen, b.thresholds, b.floor_normal,
       b.floor_batch, p.period, p.cap, p.enforcement, p.reserved, p.spent, p.excess, p.would_deny_count, p.overridden,
       p.alerted_spent, p.alerted_used, p.alert_round
FROM {scopes}
CROSS JOIN LATERAL (
    SELECT * FROM budgets WHERE organization = $1 AND scope_kind = s.kind AND scope_id = s.id OFFSET 0
) AS b
LEFT JOIN LATERAL (
    SELECT * FROM balances WHERE organization = $1 AND scope_kind = s.kind AND scope_id = s.id
        AND budget_window = b.budget_window AND period = ANY({periods}) OFFSET 0
) AS p ON true
"""

# Reads the budgets of the asked scopes with their balances in the asked periods, both by primary key. No lock: the
# organization's covers them. A budget without a balance in such a period comes with NULLs.
BUDGETS = Statement(
    "budgets",
    STANDING.format(scopes="json_to_recordset($2) AS s(kind text, id text)", periods="ARRAY[$3, $4, 'total']"),
)

# The same for the scopes and periods of reservations, which only the database knows in the first round trip.
BUDGETS_OF_RESERVATIONS = Statement(
    "budgets_of_reservations",
    STANDING.format(
        scopes="""(
    SELECT DISTINCT s.kind, s.id, r.day, r.month FROM json_array_elements_text($2) AS asked(id)
    CROSS JOIN LATERAL (
        SELECT * FROM reservations WHERE organization = $1 AND reservation_id = asked.id OFFSET 0
    ) AS r
    CROSS JOIN LATERAL (VALUES
        ('ORGANIZATION', ''),
        ('DEPARTMENT', nullif(r.department, '')),
        ('CAMPAIGN', nullif(r.campaign, '')),
        ('AGENT', nullif(r.agent, '')),
        ('RUN', nullif(r.run, ''))
    ) AS s(kind, id)
    WHERE s.id IS NOT NULL
) AS s""",
        periods="ARRAY[s.day, s.month, 'total']",
    ),
)

# Opens an organization that is seen for the first time. Waits for another transaction that does the same.
OPEN_ORGANIZATION = "INSERT INTO organizations (organization) VALUES (%s) ON CONFLICT DO NOTHING"

# When the first open hold of a scope and period expires that has money in it, by the index on open holds.
EARLIEST_EXPIRY = """
SELECT expires_at FROM reservations
WHERE organization = %s AND state = 'HELD' AND amount > 0 AND {scope} AND {period} AND reservation_id <> ALL(%s)
ORDER BY expires_at LIMIT 1
"""

# Writes new reservations.
INSERT_RESERVATIONS = Statement(
    "insert_reservations",
    f"""
INSERT INTO reservations (organization, {rows.RESERVATION_COLUMNS})
SELECT $1, {rows.RESERVATION_VALUES} FROM json_to_recordset($2) AS r({rows.RESERVATION_TYPES})
""",
)

# Writes what can change of reservations, by primary key. An upsert, though all of them are there: an UPDATE joined
# with the document would be planned anew as the table grows, and badly while it has no statistics.
UPDATE_RESERVATIONS = Statement(
    "update_reservations",
    INSERT_RESERVATIONS.sql
    + """
ON CONFLICT (organization, reservation_id) DO UPDATE SET
    amount = excluded.amount, state = excluded.state, expires_at = excluded.expires_at, ended_at = excluded.ended_at,
    ended_by = excluded.ended_by, commit_digest = excluded.commit_digest, charged = excluded.charged,
    committed = excluded.committed, late = excluded.late, would_deny = excluded.would_deny,
    override_id = excluded.override_id, override_amount = excluded.override_amount,
    override_parts = excluded.override_parts
""",
)

# Writes entries of the billing log.
INSERT_EXECUTIONS = Statement(
    "insert_executions",
    f"""
INSERT INTO executions (organization, {rows.EXECUTION_COLUMNS})
SELECT $1, {rows.EXECUTION_COLUMNS} FROM json_to_recordset($2) AS r({rows.EXECUTION_TYPES})
""",
)

# Writes balances, new or changed, by primary key.
UPSERT_BALANCES = Statement(
    "upsert_balances",
    f"""
INSERT INTO balances (organization, {rows.BALANCE_COLUMNS})
SELECT $1, {rows.BALANCE_COLUMNS} FROM json_to_recordset($2) AS r({rows.BALANCE_TYPES})
ON CONFLICT (organization, scope_kind, scope_id, budget_window, period) DO UPDATE SET
    reserved = excluded.reserved, spent = excluded.spent, excess = excluded.excess,
    would_deny_count = excluded.would_deny_count, overridden = excluded.overridden,
    alerted_spent = excluded.alerted_spent, alerted_used = excluded.alerted_used, alert_round = excluded.alert_round
""",
)

INSERT_EXCESSES = Statement(
    "insert_excesses",
    f"""
INSERT INTO excesses (organization, recorded_at, {rows.EXCESS_COLUMNS})
SELECT $1, clock_timestamp(), {rows.EXCESS_COLUMNS} FROM json_to_recordset($2) AS r({rows.EXCESS_TYPES})
""",
)

INSERT_DENIALS = Statement(
    "insert_denials",
    f"""
INSERT INTO denials (organization, {rows.DENIAL_COLUMNS})
SELECT $1, {rows.DENIAL_VALUES} FROM json_to_recordset($2) AS r({rows.DENIAL_TYPES})
""",
)

INSERT_AUDIT_EVENTS = Statement(
    "insert_audit_events",
    f"""
INSERT INTO audit_events (organization, {audit.EVENT_COLUMNS})
SELECT $1, {audit.EVENT_VALUES} FROM json_to_recordset($2) AS r({audit.EVENT_TYPES})
""",
)

# Writes counts of open holds, new or changed, by primary key.
UPSERT_OPEN_HOLDS = Statement(
    "upsert_open_holds",
    """
INSERT INTO open_holds (organization, caller, holds)
SELECT $1, caller, holds FROM json_to_recordset($2) AS r(caller text, holds bigint)
ON CONFLICT (organization, caller) DO UPDATE SET holds = excluded.holds
""",
)

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
    """What the first round trip brought."""

    now: datetime
    organization: Organization
    reservations: dict[str, Reservation]
    open_holds: dict[str, int]
    budgets: dict[tuple[Scope, Window], Budget] = field(default_factory=dict)
    balances: dict[BalanceKey, Balance] = field(default_factory=dict)


BEGIN = Statement("begin", "BEGIN")
COMMIT = Statement("commit", "COMMIT")


async def open_books(
    connection: Connection,
    organization: str,
    *,
    scopes: Collection[Scope],
    periods: Periods,
    reservation_ids: Sequence[str],
    callers: Collection[str],
    of_reservations: bool,
    begin: bool = True,
) -> Books | None:
    """Lock an organization's books and read what a batch needs, in one round trip. None: no such organization.

    `periods` are those that new reservations are expected to fall in; the caller looks at `now` and asks again with
    `read_budgets` when midnight has passed in between. `callers` are those of new reservations, and ""
    for everybody. `of_reservations`: read the reservations' budgets too.
    """
    ids = rows.as_json(reservation_ids)
    calls = [
        (LOCK, (organization,)),
        (CLOCK, (organization,)),
        (RESERVATIONS, (organization, ids)),
        (OPEN_HOLDS, (organization, rows.as_json([*callers]))),
        (BUDGETS, (organization, _as_json(scopes), periods.day, periods.month)),
    ]
    if of_reservations:
        calls.append((BUDGETS_OF_RESERVATIONS, (organization, ids)))
    if begin:
        calls.insert(0, (BEGIN, ()))
    locked, clock, held, counted, *found = (await roundtrip(connection, *calls))[begin:]
    if not locked:
        return None
    books = Books(
        now=first(clock[0]),
        organization=rows.organization(locked[0]),
        reservations={row[0]: rows.reservation(row[:-1]) for row in held},
        open_holds=dict(counted) | {row[rows.CALLER]: row[-1] for row in held if row[-1] is not None},
    )
    for budgets in found:
        rows.add_budgets(books.budgets, books.balances, budgets)
    return books


async def read_budgets(
    connection: Connection, organization: str, books: Books, scopes: Collection[Scope], periods: Periods
) -> None:
    """Add the budgets of `scopes` and their balances in `periods` to the books."""
    found = await roundtrip(connection, (BUDGETS, (organization, _as_json(scopes), periods.day, periods.month)))
    rows.add_budgets(books.budgets, books.balances, found[0])


def _as_json(scopes: Collection[Scope]) -> str:
    return rows.as_json([{"kind": scope.kind, "id": scope.id} for scope in scopes])


async def close_books(connection: Connection, organization: str, changes: Changes, key: AuditKey) -> None:
    """Write all changes and commit, in one round trip. What the audit trail keeps is sealed with `key`."""
    tables = (
        (INSERT_RESERVATIONS, [rows.of_reservation(held) for held in changes.made.values()]),
        (UPDATE_RESERVATIONS, [rows.of_reservation(held) for held in changes.changed.values()]),
        (INSERT_EXECUTIONS, [rows.of_execution(execution) for execution in changes.executions]),
        (INSERT_DENIALS, [_sealed(organization, denial, key) for denial in changes.denials]),
        (INSERT_AUDIT_EVENTS, [audit.event_record(organization, event, key) for event in changes.audit_events]),
        (INSERT_ALERTS, [rows.of_alert(alert) for alert in changes.alerts]),
        (BOOK_OVERRIDES, [override_rows.of_booked(override) for override in changes.overrides.values()]),
        (INSERT_EXCESSES, [rows.of_excess(excess) for excess in changes.excesses]),
        (UPSERT_OPEN_HOLDS, [{"caller": caller, "holds": holds} for caller, holds in changes.open_holds.items()]),
        (UPSERT_BALANCES, [rows.of_balance(balance) for balance in changes.balances.values()]),
    )
    writes = [(statement, (organization, rows.as_json(records))) for statement, records in tables if records]
    await roundtrip(connection, *writes, (COMMIT, ()))


def _sealed(organization: str, denial: Denial, key: AuditKey) -> dict[str, Any]:
    record = rows.of_denial(denial)
    return {**record, "seal": audit.denial_seal(organization, record, key).hex()}


async def open_organization(connection: Connection, organization: str, budget: Budget) -> bool:
    """Open an organization with one budget, unless it is open already; return whether it was not."""
    opened = await connection.execute(OPEN_ORGANIZATION, (organization,))
    await connection.execute(
        "INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (organization, *budget.scope, budget.window, budget.cap, budget.enforcement, list(budget.thresholds)),
    )
    return bool(opened.rowcount)


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
