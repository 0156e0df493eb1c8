"""What does the transaction-per-call baseline answer? As much as the server does: the reservation and both budgets."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from gatekeeper_client.v1 import budget_pb2, gatekeeper_service_pb2, reservation_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

NANOS: Final = Decimal("0.000000001")
NOTHING: Final = Decimal(0)
PER_CENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBudget:
    """A budget row under its lock."""

    kind: budget_pb2.ScopeKind.ValueType
    id: str
    period: str
    cap: Decimal
    spent: Decimal
    reserved: Decimal

    def lacks(self, amount: Decimal) -> Decimal:
        """Return by how much the amount is more than what is left; not positive when it fits."""
        return self.spent + self.reserved + amount - self.cap

    def status(self, spent: Decimal, reserved: Decimal) -> budget_pb2.BudgetStatus:
        """Return how it stands once these amounts are added."""
        spent, reserved = self.spent + spent, self.reserved + reserved
        used = spent + reserved
        return budget_pb2.BudgetStatus(
            scope=budget_pb2.Scope(kind=self.kind, id=self.id),
            window=budget_pb2.BUDGET_WINDOW_MONTH,
            period=self.period,
            cap=money(self.cap),
            spent=money(spent),
            reserved=money(reserved),
            available=money(max(self.cap - used, NOTHING)),
            utilization_percent=float(used * PER_CENT / self.cap),
            tier=budget_pb2.BUDGET_TIER_OK,
            enforcement=budget_pb2.ENFORCEMENT_ENFORCE,
        )


class Held(NamedTuple):
    """A reservation row; its fields are in the order of the columns."""

    campaign: str
    agent: str
    agent_type: str
    run: str
    amount: Decimal
    state: reservation_pb2.ReservationState.ValueType
    create_time: datetime
    expire_time: datetime

    def reservation(
        self, organization: str, reservation_id: str, end_time: datetime | None = None
    ) -> reservation_pb2.Reservation:
        """Return it as a message: held, or committed at `end_time`."""
        ended = end_time is not None
        return reservation_pb2.Reservation(
            reservation_id=reservation_id,
            organization=organization,
            campaign=self.campaign,
            agent=self.agent,
            agent_type=self.agent_type,
            run=self.run,
            amount=money(self.amount),
            state=reservation_pb2.RESERVATION_STATE_COMMITTED if ended else reservation_pb2.RESERVATION_STATE_HELD,
            create_time=instant(self.create_time),
            expire_time=instant(self.expire_time),
            end_time=instant(end_time) if end_time else None,
            day=self.create_time.date().isoformat(),
            month=f"{self.create_time:%Y-%m}",
        )


def admitted(
    request: gatekeeper_service_pb2.ReserveRequest, held: Held, budgets: Iterable[LockedBudget]
) -> gatekeeper_service_pb2.ReserveResponse:
    """Return the verdict that the amount is held."""
    return gatekeeper_service_pb2.ReserveResponse(
        reservation=held.reservation(request.organization, request.reservation_id),
        budgets=[budget.status(NOTHING, held.amount) for budget in budgets],
    )


def denied(
    budgets: Iterable[LockedBudget], binding: LockedBudget, amount: Decimal
) -> gatekeeper_service_pb2.ReserveResponse:
    """Return the verdict that the binding budget has no room."""
    denial = reservation_pb2.Denial(
        reason=reservation_pb2.DENIAL_REASON_OUT_OF_BUDGET,
        budget=binding.status(NOTHING, NOTHING),
        requested=money(amount),
        shortfall=money(binding.lacks(amount)),
    )
    standing = [budget.status(NOTHING, NOTHING) for budget in budgets]
    return gatekeeper_service_pb2.ReserveResponse(denial=denial, budgets=standing)


def committed(
    request: gatekeeper_service_pb2.CommitRequest, held: Held, budgets: Iterable[LockedBudget], now: datetime
) -> gatekeeper_service_pb2.CommitResponse:
    """Return what was recorded."""
    cost = decimal(request.amount)
    execution = reservation_pb2.Execution(
        reservation_id=request.reservation_id,
        organization=request.organization,
        campaign=held.campaign,
        agent=held.agent,
        agent_type=held.agent_type,
        run=held.run,
        kind=reservation_pb2.EXECUTION_KIND_COMMIT,
        cost=money(cost),
        reserved_amount=money(held.amount),
        outcome=request.outcome,
        commit_time=instant(now),
        day=held.create_time.date().isoformat(),
        month=f"{held.create_time:%Y-%m}",
    )
    return gatekeeper_service_pb2.CommitResponse(
        reservation=held.reservation(request.organization, request.reservation_id, now),
        execution=execution,
        overage_amount=money(max(cost - held.amount, NOTHING)),
        budgets=[budget.status(cost, -held.amount) for budget in budgets],
    )


def decimal(amount: Money) -> Decimal:
    """Return an amount of the wire as a number."""
    return Decimal(amount.units) + Decimal(amount.nanos) * NANOS


def money(amount: Decimal) -> Money:
    """Return a number as an amount of the wire."""
    units, nanos = divmod(int(amount.scaleb(9)), 10**9)
    return Money(currency_code="USD", units=units, nanos=nanos)


def instant(time: datetime) -> Timestamp:
    """Return a time as it is on the wire."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
