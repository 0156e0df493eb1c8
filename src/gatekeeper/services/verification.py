"""Do the books add up? Everything that is derived is derived again and compared, on a ledger that may be in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg

from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.domain.periods import Window, periods_at
from gatekeeper.domain.verification import Difference
from gatekeeper.storage import schema
from gatekeeper.storage import verification as storage
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, Connection
from gatekeeper.storage.invoice_checks import INVOICE_CHECKS
from gatekeeper.storage.override_checks import OVERRIDE_CHECKS
from gatekeeper.storage.verification_checks import CHECKS

from .invoice_verification import CHECK, verify_documents

__all__ = ["Difference", "Progress", "Verification", "verify_books"]

COUNTING = "counting"

# What verification tells while it runs: the name of the next check, how many are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found, and how much was looked at, at `checked_at` by the database's clock.

    `complete` is False where a check found so much that it stopped listing. `overdue` counts the holds whose time is
    over; only those that nobody sweeps are differences.
    """

    checked_at: datetime
    organizations: int
    balances: int
    reservations: int
    executions: int
    denials: int
    overdue: int
    differences: Sequence[Difference]
    complete: bool


async def verify_books(
    database_url: str, *, organization: str | None = None, progress: Progress | None = None, gently: bool = False
) -> Verification:
    """Verify all books, or those of one organization, in one snapshot of the database and without a lock.

    While it runs, PostgreSQL keeps old versions of all rows: on a busy ledger a long verification costs disk. `gently`
    takes longer, with less memory.

    Raises `SchemaError`, `OrganizationNotFound`, or psycopg.Error where the database is away.
    """
    async with await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="gatekeeper-verify"
    ) as connection:
        await schema.require_current(connection)
        async with connection.transaction():
            await connection.execute(storage.BEGIN)
            if gently:
                await connection.execute(storage.GENTLY)
            return await _verify(connection, organization, progress or _silent)


async def _verify(connection: Connection, organization: str | None, progress: Progress) -> Verification:
    checks = (*CHECKS, *OVERRIDE_CHECKS, *INVOICE_CHECKS)
    steps = len(checks) + 2
    progress(COUNTING, 0, steps)
    books = await storage.list_books(connection, organization)
    counts = await storage.count(connection, organization)
    known = [(name, *parts) for name, time_zone in books.time_zones for parts in _current(time_zone, books.checked_at)]
    found = _without_calendar(books.time_zones, known)
    complete = True
    for done, check in enumerate(checks, 1):
        progress(check.name, done, steps)
        differences = await storage.find(connection, check, organization, known)
        complete = complete and len(differences) <= storage.DIFFERENCES_MAX
        found += differences[: storage.DIFFERENCES_MAX]
    progress(CHECK, steps - 1, steps)
    differences = await verify_documents(connection, organization, storage.DIFFERENCES_MAX)
    complete = complete and len(differences) <= storage.DIFFERENCES_MAX
    found += differences[: storage.DIFFERENCES_MAX]
    progress("", steps, steps)
    if organization is not None and not books.time_zones and not found:
        raise OrganizationNotFound(organization=organization)
    return Verification(
        checked_at=books.checked_at,
        **counts,
        differences=sorted(found, key=str),
        complete=complete,
    )


def _current(time_zone: str, now: datetime) -> Sequence[tuple[str, str]]:
    """Return (window, period) of the periods that an organization is in; none without a calendar."""
    with suppress(ZoneInfoNotFoundError, ValueError, OSError):
        periods = periods_at(now, ZoneInfo(time_zone))
        return [(window, periods.of(window)) for window in Window]
    return []


def _without_calendar(time_zones: Sequence[tuple[str, str]], known: Sequence[tuple[str, str, str]]) -> list[Difference]:
    with_calendar = {name for name, *_ in known}
    return [
        Difference(what=f"its time zone {time_zone!r} does not exist", organization=name)
        for name, time_zone in time_zones
        if name not in with_calendar
    ]


def _silent(_name: str, _done: int, _steps: int) -> None:
    pass
