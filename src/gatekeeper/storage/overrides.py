"""How are overrides made and decided on? Under the organization's lock, but for what is only read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from psycopg.types.json import Jsonb

from gatekeeper.domain.budget import Scope
from gatekeeper.domain.override_steps import Target
from gatekeeper.domain.overrides import Override, OverrideState

from .connections import Connection, first
from .override_rows import OVERRIDE_COLUMNS, override

# Writes a new override. Nothing where there is one of this id.
ADD = f"""
INSERT INTO overrides (organization, {OVERRIDE_COLUMNS})
VALUES (%s{", %s" * len(OVERRIDE_COLUMNS.split(", "))}) ON CONFLICT DO NOTHING
"""

# Writes what a step changes of an override, by its primary key.
CHANGE = """
UPDATE overrides SET max_amount = %s, ttl = %s, state = %s, expires_at = %s, granted_by = %s, granted_by_id = %s,
    approved_by = %s, ended_by = %s, ended_at = %s
WHERE organization = %s AND override_id = %s
"""

# Writes when the last override in force ends, by the index on open ones: until then, calls without room look for one.
SET_UNTIL = """
UPDATE organizations SET overrides_until = (
    SELECT max(expires_at) FROM overrides WHERE organization = %(organization)s AND state = 'ACTIVE'
)
WHERE organization = %(organization)s
"""

FIND = f"SELECT {OVERRIDE_COLUMNS} FROM overrides WHERE organization = %s AND override_id = %s"

# Reads the open overrides of exactly one target, the newest first, by the index on open ones.
OPEN_OF = f"""
SELECT {OVERRIDE_COLUMNS} FROM overrides
WHERE organization = %s AND state IN ('PENDING', 'ACTIVE') AND expires_at > %s
    AND scope_kind IS NOT DISTINCT FROM %s AND scope_id IS NOT DISTINCT FROM %s AND reservation_id = %s
ORDER BY created_at DESC, override_id DESC
"""

# Counts the open overrides, by the index on them.
COUNT = """
SELECT count(*) FILTER (WHERE state = 'ACTIVE'), count(*) FILTER (WHERE state = 'PENDING'),
    count(*) FILTER (WHERE state = 'PENDING' AND granted_by <> '')
FROM overrides WHERE organization = %s AND state IN ('PENDING', 'ACTIVE') AND expires_at > %s
"""

# Counts what waits of what these callers have asked for, by the index on open ones.
WAITING_OF = """
SELECT requested_by_id, count(*) FROM overrides
WHERE organization = %s AND state = 'PENDING' AND expires_at > %s AND requested_by_id = ANY(%s) GROUP BY 1
"""

# Reads what was asked for reservations: what waits, by the index on open ones, and what was declined lately, by the
# newest-first index: a request waits for a day, so what was declined is not much older.
ASKED_FOR = f"""
SELECT {OVERRIDE_COLUMNS} FROM overrides
WHERE organization = %(organization)s AND state = 'PENDING' AND expires_at > %(now)s
    AND reservation_id = ANY(%(reservation_ids)s)
UNION ALL
SELECT {OVERRIDE_COLUMNS} FROM overrides
WHERE organization = %(organization)s AND state = 'DECLINED' AND created_at > %(since)s::timestamptz - interval '1 day'
    AND ended_at > %(since)s AND reservation_id = ANY(%(reservation_ids)s)
"""

# By the primary key.
IS_RESERVED = "SELECT EXISTS (SELECT FROM reservations WHERE organization = %s AND reservation_id = %s)"

# Reads the overrides in force, without a lock, by the index on open ones; with scopes, those that reach their calls.
IN_FORCE = f"""
SELECT {OVERRIDE_COLUMNS} FROM overrides
WHERE organization = %(organization)s AND state = 'ACTIVE' AND expires_at > %(now)s
    AND (%(kinds)s::text[] IS NULL
        OR (scope_kind, scope_id) IN (SELECT * FROM unnest(%(kinds)s::text[], %(ids)s::text[])))
ORDER BY created_at DESC, override_id DESC LIMIT %(limit)s
"""

# A call that has asked by itself: the reservation's id, and the caller's.
Asking: TypeAlias = tuple[str, str]


class Opened(NamedTuple):
    """How many overrides of an organization are open; those that wait for a second admin are pending as well."""

    in_force: int
    pending: int
    half_granted: int


async def add(connection: Connection, organization: str, made: Override) -> bool:
    """Write a new override; return whether there was none of its id."""
    scope_kind, scope_id = made.scope or (None, None)
    values = (
        *(made.override_id, scope_kind, scope_id, made.reservation_id, made.max_amount, made.reserved, made.spent),
        *(made.ttl, made.state, made.created_at, made.expires_at, made.reason, made.requested_by),
        *(made.requested_by_id, made.granted_by, made.granted_by_id, made.approved_by, made.ended_by, made.ended_at),
        *(None if made.bound_scopes is None else Jsonb(made.bound_scopes), made.terms_digest),
    )
    return bool((await connection.execute(ADD, (organization, *values))).rowcount)


async def change(connection: Connection, organization: str, changed: Override) -> None:
    """Write what a step has changed."""
    values = (
        *(changed.max_amount, changed.ttl, changed.state, changed.expires_at, changed.granted_by),
        *(changed.granted_by_id, changed.approved_by, changed.ended_by, changed.ended_at),
    )
    await connection.execute(CHANGE, (*values, organization, changed.override_id))


async def set_until(connection: Connection, organization: str) -> None:
    """Let batches know until when they have to look for overrides."""
    await connection.execute(SET_UNTIL, {"organization": organization})


async def find(connection: Connection, organization: str, override_id: str) -> Override | None:
    """Return an override by its id."""
    row = await (await connection.execute(FIND, (organization, override_id))).fetchone()
    return override(row) if row else None


async def open_of(connection: Connection, organization: str, target: Target, now: datetime) -> list[Override]:
    """Return the open overrides of exactly this target, the newest first."""
    kind, scope_id = target.scope or (None, None)
    cursor = await connection.execute(OPEN_OF, (organization, now, kind, scope_id, target.reservation_id))
    return [override(row) for row in await cursor.fetchall()]


async def count_open(connection: Connection, organization: str, now: datetime) -> Opened:
    """Count an organization's open overrides."""
    row = await (await connection.execute(COUNT, (organization, now))).fetchone()
    assert row is not None
    return Opened(*row)


async def waiting_of(
    connection: Connection, organization: str, caller_ids: Collection[str], now: datetime
) -> dict[str, int]:
    """Count what waits of what each of these callers has asked for."""
    cursor = await connection.execute(WAITING_OF, (organization, now, [*caller_ids]))
    return dict(await cursor.fetchall())


async def asked_for(
    connection: Connection, organization: str, reservation_ids: Collection[str], *, now: datetime, since: datetime
) -> dict[Asking, Override]:
    """Return what was asked for these reservations, and by whom, and waits, or else was declined after `since`."""
    parameters = {"organization": organization, "now": now, "since": since, "reservation_ids": [*reservation_ids]}
    cursor = await connection.execute(ASKED_FOR, parameters)
    found = sorted(map(override, await cursor.fetchall()), key=_waits_last)
    return {(asked.reservation_id, asked.requested_by_id): asked for asked in found}


def _waits_last(asked: Override) -> tuple[bool, datetime]:
    return asked.state is OverrideState.PENDING, asked.created_at


async def is_reserved(connection: Connection, organization: str, reservation_id: str) -> bool:
    """Tell whether a reservation of this id was admitted."""
    return bool(first(await (await connection.execute(IS_RESERVED, (organization, reservation_id))).fetchone()))


async def in_force(
    connection: Connection, organization: str, scopes: Sequence[Scope] | None, *, now: datetime, limit: int
) -> list[Override]:
    """Return overrides in force, the newest first; of these scopes only, unless None."""
    parameters = {
        "organization": organization,
        "kinds": None if scopes is None else [scope.kind.value for scope in scopes],
        "ids": None if scopes is None else [scope.id for scope in scopes],
        "now": now,
        "limit": limit,
    }
    cursor = await connection.execute(IN_FORCE, parameters)
    return [override(row) for row in await cursor.fetchall()]
