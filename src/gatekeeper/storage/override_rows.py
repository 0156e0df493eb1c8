"""How are overrides read and booked in a batch?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from gatekeeper.domain.budget import Scope, ScopeKind
from gatekeeper.domain.overrides import Override, OverrideState

from .connections import Connection
from .roundtrip import Statement, roundtrip
from .rows import as_json

OVERRIDE_COLUMNS = (
    "override_id, scope_kind, scope_id, reservation_id, max_amount, reserved, spent, ttl, state, created_at,"
    " expires_at, reason, requested_by, requested_by_id, granted_by, granted_by_id, approved_by, ended_by, ended_at,"
    " bound_scopes, terms_digest"
)

# Reads the overrides in force, by the index on open ones, and those of the given ids, by primary key. No lock: the
# organization's covers them. Two branches, so that each goes by its index.
NEEDED = Statement(
    "needed_overrides",
    f"""
SELECT {OVERRIDE_COLUMNS} FROM overrides
WHERE organization = $1 AND state = 'ACTIVE' AND expires_at > now()
UNION
SELECT o.* FROM json_array_elements_text($2) AS asked(id)
CROSS JOIN LATERAL (
    SELECT {OVERRIDE_COLUMNS} FROM overrides WHERE organization = $1 AND override_id = asked.id OFFSET 0
) AS o
""",
)

# Writes what overrides have paid and are booked for, by primary key.
BOOK_OVERRIDES = Statement(
    "book_overrides",
    """
UPDATE overrides SET reserved = r.reserved, spent = r.spent
FROM json_to_recordset($2) AS r(override_id text, reserved numeric, spent numeric)
WHERE organization = $1 AND overrides.override_id = r.override_id
""",
)


async def read_needed(connection: Connection, organization: str, override_ids: Collection[str]) -> list[Override]:
    """Return the overrides in force, and those of `override_ids` whatever their state."""
    found = await roundtrip(connection, (NEEDED, (organization, as_json([*override_ids]))))
    return [override(row) for row in found[0]]


def override(row: Sequence[Any]) -> Override:
    """Read the OVERRIDE_COLUMNS of a row."""
    (override_id, scope_kind, scope_id, reservation_id, max_amount, reserved, spent, ttl, state, created_at, expires_at,
     reason, requested_by, requested_by_id, granted_by, granted_by_id, approved_by, ended_by, ended_at, bound_scopes,
     terms_digest) = row  # fmt: skip
    return Override(
        override_id=override_id,
        scope=None if scope_kind is None else Scope(ScopeKind(scope_kind), scope_id),
        reservation_id=reservation_id,
        max_amount=max_amount,
        ttl=ttl,
        state=OverrideState(state),
        created_at=created_at,
        expires_at=expires_at,
        reason=reason,
        reserved=reserved,
        spent=spent,
        requested_by=requested_by,
        requested_by_id=requested_by_id,
        granted_by=granted_by,
        granted_by_id=granted_by_id,
        approved_by=approved_by,
        ended_by=ended_by,
        ended_at=ended_at,
        bound_scopes=None if bound_scopes is None else tuple(Scope(ScopeKind(kind), id_) for kind, id_ in bound_scopes),
        terms_digest=terms_digest,
    )


def of_booked(changed: Override) -> dict[str, Any]:
    """Write what an override is booked for, as the row that BOOK_OVERRIDES takes."""
    return {
        "override_id": changed.override_id,
        "reserved": str(changed.reserved),
        "spent": str(changed.spent),
    }
