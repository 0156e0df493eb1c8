"""What has moved a budget in a month? Its reservations by how they ended, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from gatekeeper.domain.budget import BalanceKey, ScopeKind
from gatekeeper.domain.burn_rate import Span as Bounds
from gatekeeper.domain.invoices import Span
from gatekeeper.domain.reservation import ReservationState
from gatekeeper.domain.spend import Totals
from gatekeeper.domain.statements import Movement

from . import rows
from .connections import Connection
from .spend import add_up

# A month's calls are made within it, by the time of the books. Two days more on either side, should its calendar have
# changed: no two calendars are further apart.
SLACK = timedelta(days=2)

# Adds up the reservations of a month by state, with how many cost more than they held, and how many an override has
# paid for. No lock; by reservations_newest_idx, bounded in time.
HELD = """
SELECT state, sum(amount), count(*), count(*) FILTER (WHERE committed > amount),
       count(*) FILTER (WHERE override_amount > 0 AND state <> 'HELD')
FROM reservations
WHERE organization = %s AND created_at >= %s AND created_at < %s AND {scope} AND {period}
GROUP BY state
"""

# Adds up the executions of a run in a month, which the sums of spend do not tell apart. No lock; by executions_run_idx.
OF_RUN = """
SELECT count(*), coalesce(sum(cost), 0),
       coalesce(sum(greatest(cost - reserved_amount, 0)) FILTER (WHERE kind = 'COMMIT'), 0),
       coalesce(sum(override_amount), 0)
FROM executions WHERE organization = %s AND run = %s AND month = %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Reservations by state, and how many of all cost more than they held, or were paid for by an override."""

    states: Mapping[ReservationState, Movement]
    above: int
    paid: int


async def read_held(connection: Connection, organization: str, key: BalanceKey, bounds: Bounds) -> Held:
    """Return what the reservations that count for a balance held, of a month within `bounds`."""
    scope, period, parameters = rows.match(key)
    cursor = await connection.execute(
        HELD.format(scope=scope, period=period),
        (organization, bounds.start - SLACK, bounds.end + SLACK, *parameters),
    )
    found = await cursor.fetchall()
    return Held(
        states={ReservationState(state): Movement(amount, count) for state, amount, count, _, _ in found},
        above=sum(row[3] for row in found),
        paid=sum(row[4] for row in found),
    )


async def read_executed(connection: Connection, organization: str, key: BalanceKey, recorded: Span) -> Totals:
    """Return what the executions that count for a balance come to."""
    kind, scope_id = key.scope
    if kind is ScopeKind.RUN:
        return await _of_run(connection, organization, scope_id, key.period)
    column = "month" if kind is ScopeKind.ORGANIZATION else kind.lower()
    wanted = key.period if kind is ScopeKind.ORGANIZATION else scope_id
    found = await add_up(connection, organization, [recorded], [column])
    return next((row.totals for row in found if row.key == (wanted,)), Totals())


async def _of_run(connection: Connection, organization: str, run: str, month: str) -> Totals:
    row = await (await connection.execute(OF_RUN, (organization, run, month))).fetchone()
    assert row is not None
    entries, cost, overage, override = row
    return Totals(entries=entries, cost=cost, overage_amount=overage, override_amount=override)
