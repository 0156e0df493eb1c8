"""How are overrides listed, with who used them? Newest first, by keyset, without locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from gatekeeper.domain.overrides import Override, OverrideState

from .connections import Connection
from .override_rows import OVERRIDE_COLUMNS, override

# Reservations that are listed with each override.
USES_MAX = 20

# A page of overrides, without a lock, by the newest-first index.
PAGE = f"""
SELECT {OVERRIDE_COLUMNS} FROM overrides
WHERE organization = %(organization)s
    AND (%(state)s::text IS NULL OR %(state)s =
        CASE WHEN state IN ('PENDING', 'ACTIVE') AND expires_at <= %(now)s THEN 'EXPIRED' ELSE state END)
    AND (%(after_at)s::timestamptz IS NULL OR (created_at, override_id) < (%(after_at)s, %(after_id)s))
ORDER BY created_at DESC, override_id DESC LIMIT %(limit)s
"""

# Reads how many reservations used each override, and the newest of them, by the index on these.
USES = """
SELECT asked.id, c.uses, r.reservation_id, r.agent, r.run, r.override_amount, r.created_at
FROM unnest(%(override_ids)s::text[]) AS asked(id)
CROSS JOIN LATERAL (
    SELECT count(*) AS uses FROM reservations
    WHERE organization = %(organization)s AND override_id = asked.id AND override_id <> ''
) AS c
CROSS JOIN LATERAL (
    SELECT * FROM reservations
    WHERE organization = %(organization)s AND override_id = asked.id AND override_id <> ''
    ORDER BY created_at DESC LIMIT %(limit)s
) AS r
ORDER BY r.created_at DESC, r.reservation_id DESC
"""


class Use(NamedTuple):
    """A reservation that an override is booked for: `amount` is what is held beyond the caps, or what that has cost."""

    reservation_id: str
    agent: str
    run: str
    amount: Decimal
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An override with how many reservations used it, and the newest of them."""

    override: Override
    use_count: int = 0
    uses: Sequence[Use] = ()


async def page(
    connection: Connection,
    organization: str,
    *,
    state: OverrideState | None,
    after: tuple[datetime, str] | None,
    now: datetime,
    limit: int,
) -> list[Listed]:
    """Return overrides behind `after`, the newest first, with who used them."""
    after_at, after_id = after or (None, None)
    parameters: Mapping[str, Any] = {
        "organization": organization,
        "state": state,
        "after_at": after_at,
        "after_id": after_id,
        "now": now,
        "limit": limit,
    }
    found = [override(row) for row in await (await connection.execute(PAGE, parameters)).fetchall()]
    return await _with_uses(connection, organization, found)


async def _with_uses(connection: Connection, organization: str, found: Sequence[Override]) -> list[Listed]:
    counts: dict[str, int] = {}
    uses: dict[str, list[Use]] = {}
    parameters = {"organization": organization, "override_ids": [each.override_id for each in found], "limit": USES_MAX}
    for override_id, count, *use in await (await connection.execute(USES, parameters)).fetchall():
        counts[override_id] = count
        uses.setdefault(override_id, []).append(Use(*use))
    return [
        Listed(override=each, use_count=counts.get(each.override_id, 0), uses=uses.get(each.override_id, ()))
        for each in found
    ]
