"""What is written into the billing log? An entry for each commit, expiry charge and reversal."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from .commands import Commit, Money
from .money import ZERO
from .reservation import Execution, ExecutionKind, Outcome, Reservation


class Cost(NamedTuple):
    """What a call has cost, of which model, and by which price book."""

    amount: Decimal
    model: str
    price_version: str = ""


def entry(held: Reservation, kind: ExecutionKind, cost: Decimal, outcome: Outcome, at: datetime) -> Execution:
    """Return an entry that says of its reservation what the reservation itself says."""
    paid = held.override.amount if held.override else ZERO
    return Execution(
        reservation_id=held.reservation_id,
        kind=kind,
        attribution=held.attribution,
        periods=held.periods,
        committed_at=at,
        cost=cost,
        reserved_amount=held.amount,
        outcome=outcome,
        model=held.model,
        price_version=held.price_version,
        labels=held.labels,
        late=kind is ExecutionKind.REVERSAL,
        override_id=held.override.override_id if held.override and paid else "",
        override_amount=-paid if kind is ExecutionKind.REVERSAL else paid,
    )


def settlement(held: Reservation, command: Commit, cost: Cost, at: datetime) -> Execution:
    """Return the entry of a commit: what the reservation says, overlaid with what the commit does."""
    settled = entry(held, ExecutionKind.COMMIT, cost.amount, command.outcome, at)._replace(
        model=cost.model,
        price_version=cost.price_version,
        metrics=command.metrics,
        labels={**held.labels, **command.labels} if command.labels else held.labels,
        late=held.late,
    )
    if isinstance(command.cost, Money):
        return settled
    counts = command.cost.counts
    return settled._replace(
        input_tokens=counts.input_tokens,
        cached_input_tokens=counts.cached_input_tokens,
        cache_write_input_tokens=counts.cache_write_input_tokens,
        output_tokens=counts.output_tokens,
    )
