"""How do the wire's messages become commands, and verdicts messages?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper.domain import errors
from gatekeeper.domain.admission import DenialReason
from gatekeeper.domain.budget import NO_FLOORS, Balance, Budget, Enforcement, Floors, Priority, Scope, ScopeKind, Tier
from gatekeeper.domain.caps import etag_of
from gatekeeper.domain.commands import Money, Tokens
from gatekeeper.domain.money import NANOS_PER_UNIT, ZERO
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import TOTAL, Window
from gatekeeper.domain.prices import TokenCounts
from gatekeeper.domain.reservation import (
    NO_METRICS,
    Attribution,
    Execution,
    ExecutionKind,
    Metrics,
    Outcome,
    Reservation,
    ReservationState,
)
from gatekeeper.domain.verdicts import Denial
from gatekeeper_client.v1 import budget_pb2, gatekeeper_service_pb2, override_pb2, reservation_pb2

from .money import read_money, write_money

E = TypeVar("E", bound=StrEnum)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_LENGTH = len("2026-11-20")
WHOLE_PERCENT = 100
MICROSECOND = timedelta(microseconds=1)


def _codes(members: type[E], wire: Any) -> tuple[dict[E, Any], dict[int, E]]:
    """Pair the members of a domain enum with the wire's values of the same names."""
    prefix = wire.Name(0).removesuffix("UNSPECIFIED")
    to_wire = {member: wire.Value(prefix + member.name) for member in members}
    return to_wire, {value: member for member, value in to_wire.items()}


SCOPE_KINDS, SCOPE_KIND_OF = _codes(ScopeKind, budget_pb2.ScopeKind)
WINDOWS, WINDOW_OF = _codes(Window, budget_pb2.BudgetWindow)
ENFORCEMENTS, ENFORCEMENT_OF = _codes(Enforcement, budget_pb2.Enforcement)
PRIORITIES, PRIORITY_OF = _codes(Priority, budget_pb2.Priority)
TIERS, _tiers = _codes(Tier, budget_pb2.BudgetTier)
STATES, STATE_OF = _codes(ReservationState, reservation_pb2.ReservationState)
DENIAL_REASONS, _denial_reasons = _codes(DenialReason, reservation_pb2.DenialReason)
OUTCOMES, OUTCOME_OF = _codes(Outcome, reservation_pb2.Outcome)
EXECUTION_KINDS, EXECUTION_KIND_OF = _codes(ExecutionKind, reservation_pb2.ExecutionKind)


def read_scope(scope: budget_pb2.Scope, field: str) -> Scope:
    """Read a scope; kind and id unset mean the organization."""
    kind = SCOPE_KIND_OF.get(scope.kind)
    if kind is None:
        if scope.id:
            raise errors.InvalidField(field=f"{field}.kind", problem="is required with an id")
        kind = ScopeKind.ORGANIZATION
    if (kind is ScopeKind.ORGANIZATION) != (not scope.id):
        problem = "must be empty for the organization" if scope.id else f"is required for {kind.lower()}"
        raise errors.InvalidField(field=f"{field}.id", problem=problem)
    return Scope(kind, scope.id)


def write_scope(scope: Scope) -> budget_pb2.Scope:
    """Write a scope."""
    return budget_pb2.Scope(kind=SCOPE_KINDS[scope.kind], id=scope.id)


def read_attribution(request: gatekeeper_service_pb2.ReserveRequest) -> Attribution:
    """Read what a call is for."""
    return Attribution(
        request.department, request.campaign, request.agent, request.run, request.agent_type, request.task
    )


def read_duration(duration: Duration, field: str) -> timedelta:
    """Read a duration, to the microsecond above: one that is not zero stays so. Raises `InvalidField`."""
    if not 0 <= duration.nanos < NANOS_PER_UNIT:
        raise errors.InvalidField(field=f"{field}.nanos", problem="must be between 0 and 999,999,999")
    return timedelta(seconds=duration.seconds, microseconds=-(-duration.nanos // 1000))


def read_period(period: str) -> str:
    """Read a period, whose form has been checked: what is in it must be in the calendar too."""
    if period not in {"", TOTAL}:
        try:
            date.fromisoformat(f"{period}-01"[:DAY_LENGTH])
        except ValueError as error:
            raise errors.InvalidField(field="period", problem="must be a day or month that there is") from error
    return period


def read_estimate(request: gatekeeper_service_pb2.ReserveRequest) -> Money | Tokens:
    """Read what a call may cost at most."""
    if request.WhichOneof("estimate") == "amount":
        return read_money(request.amount, "amount")
    tokens = request.tokens
    counts = _counts(
        "tokens",
        input_tokens=tokens.input_tokens,
        cached_input_tokens=tokens.cached_input_tokens,
        output_tokens=tokens.max_output_tokens,
    )
    return Tokens(model=tokens.model, counts=counts)


def read_cost(request: gatekeeper_service_pb2.CommitRequest) -> Money | Tokens:
    """Read what a call has cost."""
    if request.WhichOneof("cost") == "amount":
        return read_money(request.amount, "amount")
    usage = request.usage
    counts = _counts(
        "usage",
        input_tokens=usage.input_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_input_tokens=usage.cache_write_input_tokens,
        output_tokens=usage.output_tokens,
    )
    return Tokens(model=usage.model, counts=counts)


def _counts(field: str, **counts: int) -> TokenCounts:
    if counts["cached_input_tokens"] + counts.get("cache_write_input_tokens", 0) > counts["input_tokens"]:
        problem = "must be at most input_tokens, which counts all input; together with cache_write_input_tokens"
        raise errors.InvalidField(field=f"{field}.cached_input_tokens", problem=problem)
    return TokenCounts(**counts)


def read_metrics(request: gatekeeper_service_pb2.CommitRequest) -> Metrics:
    """Read what came of a call."""
    if not request.HasField("metrics"):
        return NO_METRICS
    metrics = request.metrics
    return Metrics(
        quality_score=metrics.quality_score if metrics.HasField("quality_score") else None,
        impact_score=metrics.impact_score if metrics.HasField("impact_score") else None,
        conversions=metrics.conversions,
        revenue=read_money(metrics.revenue, "metrics.revenue").amount if metrics.HasField("revenue") else ZERO,
        latency=read_duration(metrics.latency, "metrics.latency") if metrics.HasField("latency") else None,
    )


def write_time(instant: datetime | None) -> Timestamp | None:
    """Write an instant; None leaves the field unset."""
    if instant is None:
        return None
    microseconds = (instant - EPOCH) // MICROSECOND
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def write_status(balance: Balance, currency: str) -> budget_pb2.BudgetStatus:
    """Write how one period of a budget stands."""
    key = balance.key
    return budget_pb2.BudgetStatus(
        scope=write_scope(key.scope),
        window=WINDOWS[key.window],
        period=key.period,
        cap=write_money(balance.cap, currency),
        spent=write_money(balance.spent, currency),
        reserved=write_money(balance.reserved, currency),
        available=write_money(balance.available, currency),
        utilization_percent=float(balance.utilization_percent()),
        tier=TIERS[balance.tier],
        enforcement=ENFORCEMENTS[balance.enforcement],
        frozen=balance.frozen,
        would_deny_count=balance.would_deny_count,
        overridden=write_money(balance.overridden, currency),
        floors=_write_floors(balance.floors),
    )


def write_statuses(balances: Sequence[Balance], currency: str) -> list[budget_pb2.BudgetStatus]:
    """Write how several stand."""
    return [write_status(balance, currency) for balance in balances]


def write_budget(budget: Budget, balance: Balance, currency: str) -> budget_pb2.Budget:
    """Write a budget with its current period."""
    return budget_pb2.Budget(
        scope=write_scope(budget.scope),
        window=WINDOWS[budget.window],
        cap=write_money(budget.cap, currency),
        enforcement=ENFORCEMENTS[budget.enforcement],
        thresholds=budget.thresholds,
        frozen=budget.frozen,
        etag=etag_of(budget),
        reason=budget.reason,
        update_time=write_time(budget.updated_at),
        status=write_status(balance, currency),
        floors=_write_floors(budget.floors),
    )


def _write_floors(floors: Floors) -> Sequence[budget_pb2.PriorityFloor]:
    if floors == NO_FLOORS:
        return ()
    return [
        budget_pb2.PriorityFloor(priority=PRIORITIES[priority], percent=floors.percent(priority))
        for priority in (Priority.NORMAL, Priority.BATCH)
    ]


def read_floors(floors: Sequence[budget_pb2.PriorityFloor]) -> dict[Priority, int]:
    """Read where calls of a priority stop; each may be named once."""
    found: dict[Priority, int] = {}
    for index, floor in enumerate(floors):
        priority = PRIORITY_OF[floor.priority]
        if priority in found:
            raise errors.InvalidField(field=f"floors[{index}].priority", problem="is named twice")
        found[priority] = floor.percent
    return found


def write_reservation(held: Reservation, organization: Organization) -> reservation_pb2.Reservation:
    """Write a hold."""
    attribution = held.attribution
    return reservation_pb2.Reservation(
        reservation_id=held.reservation_id,
        organization=organization.organization,
        department=attribution.department,
        campaign=attribution.campaign,
        agent=attribution.agent,
        agent_type=attribution.agent_type,
        run=attribution.run,
        task=attribution.task,
        model=held.model,
        amount=write_money(held.amount, organization.currency),
        state=STATES[held.state],
        create_time=write_time(held.created_at),
        expire_time=write_time(held.expires_at),
        end_time=write_time(held.ended_at),
        day=held.periods.day,
        month=held.periods.month,
        price_version=held.price_version,
        would_deny=held.would_deny,
        labels=held.labels,
        priority=PRIORITIES[held.priority],
        override=_write_use(held, organization.currency),
    )


def _write_use(held: Reservation, currency: str) -> override_pb2.OverrideUse | None:
    if held.override is None:
        return None
    return override_pb2.OverrideUse(
        override_id=held.override.override_id,
        amount=write_money(held.override.amount, currency),
        reservation_id=held.reservation_id,
        agent=held.attribution.agent,
        run=held.attribution.run,
        create_time=write_time(held.created_at),
    )


def write_denial(denial: Denial, currency: str) -> reservation_pb2.Denial:
    """Write why there is no hold."""
    balance = denial.denied.balance
    written = reservation_pb2.Denial(reason=DENIAL_REASONS[denial.denied.reason], message=denial.message)
    if balance is not None:
        written.budget.CopyFrom(write_status(balance, currency))
        written.requested.CopyFrom(write_money(denial.requested, currency))
        written.shortfall.CopyFrom(write_money(denial.denied.shortfall, currency))
    if (headroom_time := write_time(denial.headroom_at)) is not None:
        written.headroom_time.CopyFrom(headroom_time)
    if denial.denied.floor_percent < WHOLE_PERCENT:
        written.floor_percent = denial.denied.floor_percent
    return written


def write_execution(entry: Execution, organization: Organization) -> reservation_pb2.Execution:
    """Write an entry of the billing log."""
    attribution, currency = entry.attribution, organization.currency
    return reservation_pb2.Execution(
        reservation_id=entry.reservation_id,
        kind=EXECUTION_KINDS[entry.kind],
        organization=organization.organization,
        department=attribution.department,
        campaign=attribution.campaign,
        agent=attribution.agent,
        agent_type=attribution.agent_type,
        run=attribution.run,
        task=attribution.task,
        model=entry.model,
        cost=write_money(entry.cost, currency),
        reserved_amount=write_money(entry.reserved_amount, currency),
        input_tokens=entry.input_tokens,
        cached_input_tokens=entry.cached_input_tokens,
        cache_write_input_tokens=entry.cache_write_input_tokens,
        output_tokens=entry.output_tokens,
        outcome=OUTCOMES[entry.outcome],
        metrics=None if entry.metrics == NO_METRICS else _write_metrics(entry.metrics, currency),
        labels=entry.labels,
        price_version=entry.price_version,
        late=entry.late,
        commit_time=write_time(entry.committed_at),
        day=entry.periods.day,
        month=entry.periods.month,
        override_id=entry.override_id,
        override_amount=write_money(entry.override_amount, currency) if entry.override_id else None,
    )


def _write_metrics(metrics: Metrics, currency: str) -> reservation_pb2.Metrics:
    written = reservation_pb2.Metrics(
        quality_score=metrics.quality_score,
        impact_score=metrics.impact_score,
        conversions=metrics.conversions,
        revenue=write_money(metrics.revenue, currency),
    )
    if metrics.latency is not None:
        written.latency.FromTimedelta(metrics.latency)
    return written


def overage(amount: Decimal, cost: Decimal) -> Decimal:
    """Return how much more a call cost than was held."""
    return max(ZERO, cost - amount)
