"""How is the ledger asked whether it adds up? In one read-only snapshot, check by check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatekeeper.domain.budget import BalanceKey, Scope
from gatekeeper.domain.verification import Difference

from .books import database_now
from .connections import Connection
from .verification_checks import MINE, Check

# How long a hold may be overdue before it counts as one that no server sweeps; they look every second.
OVERDUE_AFTER_S = 60

# Differences that one check names: what is wrong everywhere has one cause, and nobody reads a million lines of it.
DIFFERENCES_MAX = 1000

# Hash joins and aggregates over millions of rows get this much memory before they go to disk.
WORK_MEM = "128MB"

# Whose books there are, and by which calendar.
ORGANIZATIONS = f"SELECT organization, time_zone FROM organizations t WHERE {MINE}"

COUNTS = " UNION ALL ".join(
    f"SELECT '{name}', count(*) FROM {table} t WHERE {MINE}"
    for name, table in (
        *((table, table) for table in ("organizations", "balances", "reservations", "executions", "denials")),
        ("overdue", "(SELECT * FROM reservations WHERE state = 'HELD' AND expires_at <= clock_timestamp())"),
    )
)

# Materialized, so that the limit does not make the planner hope for the first differences to come soon: there are none.
LISTED = f"WITH found AS MATERIALIZED ({{statement}}) SELECT * FROM found LIMIT {DIFFERENCES_MAX + 1}"

# One snapshot for all statements; as long as they take; PostgreSQL's own guess of memory is for small ones.
BEGIN = f"""
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = 0;
SET LOCAL jit = off;
SET LOCAL work_mem = '{WORK_MEM}'
"""

# For a verification that nobody waits for: it takes longer, and leaves memory and processors to the others.
GENTLY = "SET LOCAL work_mem = '16MB'; SET LOCAL max_parallel_workers_per_gather = 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Which organizations there are, as (organization, time zone), at an instant of the database's clock."""

    checked_at: datetime
    time_zones: Sequence[tuple[str, str]]


async def list_books(connection: Connection, organization: str | None) -> Books:
    """Return all organizations, or the one that was asked for if it is there."""
    checked_at = await database_now(connection)
    cursor = await connection.execute(ORGANIZATIONS, {"organization": organization})
    return Books(checked_at=checked_at, time_zones=[(row[0], row[1]) for row in await cursor.fetchall()])


async def count(connection: Connection, organization: str | None) -> dict[str, int]:
    """Return how many rows of each kind there are."""
    cursor = await connection.execute(COUNTS, {"organization": organization})
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def find(
    connection: Connection, check: Check, organization: str | None, current: Sequence[tuple[str, str, str]]
) -> list[Difference]:
    """Return the differences that a check finds, at most DIFFERENCES_MAX and one more.

    `current` are the periods that organizations are in, as (organization, window, period).
    """
    organizations, windows, periods = zip(*current, strict=True) if current else ((), (), ())
    parameters = {
        "organization": organization,
        "organizations": list(organizations),
        "windows": list(windows),
        "periods": list(periods),
        "overdue_after_s": OVERDUE_AFTER_S,
    }
    cursor = await connection.execute(LISTED.format(statement=check.statement), parameters)
    return [_difference(row) for row in await cursor.fetchall()]


def _difference(row: Sequence[Any]) -> Difference:
    what, organization, kind, scope_id, window, period, reservation_id, expected, found = row
    # As they stand in the row: a kind that nobody knows is to be told like any other.
    key = BalanceKey(Scope(kind, scope_id), window, period) if kind else None
    return Difference(
        what=what,
        organization=organization,
        key=key,
        reservation_id=reservation_id,
        expected=expected,
        found=found,
    )
