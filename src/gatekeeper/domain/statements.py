"""What has happened to a budget in a month, from what was available before to what is left?

::

    opening + holds + releases + expiries + settled holds + commits = closing = cap - spent - reserved

A month's balance begins anew, with nothing spent and nothing held: what it opens with is the cap. There is no line for
changes of the cap: a statement is drawn up under the cap that the month has at its end, as if it had stood from its
first day. So does a budget's first month, which counts what was spent before the budget was set.

All that counts for the month is in it, whenever it was recorded: a late commit of an October call changes October's
statement in November. A hold counts with what it holds or held at last. One that expired comes back whole; what its
expiry was charged, by the organization's policy, is among the commits, and so is the reversal of that charge where the
call was committed later. Overage and override use are parts of the commits, and move nothing by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from .budget import Balance
from .money import ZERO
from .reservation import ReservationState
from .spend import Totals


@dataclass(frozen=True, slots=True)
class Movement:
    """By how much something changed what was available, and how many reservations or executions it were."""

    amount: Decimal = ZERO
    count: int = 0


NONE = Movement()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A budget's month. `read_at` is when, by the database's clock."""

    balance: Balance
    holds: Movement
    releases: Movement
    expiries: Movement
    settled_holds: Movement
    commits: Movement
    overage: Movement
    override_use: Movement
    read_at: datetime

    @property
    def opening(self) -> Decimal:
        """What was available when the month began."""
        return self.balance.cap

    @property
    def closing(self) -> Decimal:
        """What is left; below zero by what stands above the cap."""
        moved = (self.holds, self.releases, self.expiries, self.settled_holds, self.commits)
        return self.opening + sum((movement.amount for movement in moved), ZERO)


def draw_up(
    balance: Balance,
    held: Mapping[ReservationState, Movement],
    executed: Totals,
    counts: tuple[int, int],
    read_at: datetime,
) -> Statement:
    """Return a statement. `held` is what reservations of each state held, `executed` what came of them.

    `counts` are how many executions cost more than was held, and how many an override has paid for.
    """
    above, paid = counts
    return Statement(
        balance=balance,
        holds=Movement(
            -sum((movement.amount for movement in held.values()), ZERO),
            sum(movement.count for movement in held.values()),
        ),
        releases=held.get(ReservationState.RELEASED, NONE),
        expiries=held.get(ReservationState.EXPIRED, NONE),
        settled_holds=held.get(ReservationState.COMMITTED, NONE),
        commits=Movement(-executed.cost, executed.entries),
        overage=Movement(-executed.overage_amount, above),
        override_use=Movement(-executed.override_amount, paid),
        read_at=read_at,
    )
