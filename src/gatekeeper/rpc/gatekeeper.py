"""Which RPCs do agents and admins call?"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TypeVar

from gatekeeper.domain import errors
from gatekeeper.domain.budget import ORGANIZATION, Priority
from gatekeeper.domain.caps import SetCap
from gatekeeper.domain.commands import TTL_DEFAULT, Commit, Extend, Release, Reserve
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Outcome
from gatekeeper.domain.verdicts import Committed, Denial, Held
from gatekeeper.services.batch import Answer
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.gate import Gate
from gatekeeper.services.overrides import Grants
from gatekeeper_client.ids import new_reservation_id
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import reservation_pb2

from .boundary import CallInfo
from .invoice_exports import InvoiceExports
from .money import read_money, write_money
from .overrides import request_override, set_override, write_override
from .translate import (
    ENFORCEMENT_OF,
    OUTCOME_OF,
    PRIORITY_OF,
    WINDOW_OF,
    overage,
    read_attribution,
    read_cost,
    read_duration,
    read_estimate,
    read_floors,
    read_metrics,
    read_period,
    read_scope,
    write_budget,
    write_denial,
    write_execution,
    write_reservation,
    write_statuses,
)

R = TypeVar("R", pb.ReserveResponse, pb.ExtendResponse)

DIGEST_BYTES = 16


def _digest(canonical: bytes) -> bytes:
    return hashlib.blake2b(canonical, digest_size=DIGEST_BYTES).digest()


class GatekeeperServicer:
    """gatekeeper.v1.GatekeeperService, by the gate, the budgets and what admins grant beyond them."""

    def __init__(
        self,
        gate: Gate,
        budgets: Budgets,
        grants: Grants,
        exports: InvoiceExports,
        *,
        ttl_default: timedelta = TTL_DEFAULT,
    ) -> None:
        """Answer by these services. A hold that names no ttl has this one."""
        self._gate = gate
        self._budgets = budgets
        self._grants = grants
        self._exports = exports
        self._ttl_default = ttl_default

    async def Reserve(self, request: pb.ReserveRequest, info: CallInfo) -> pb.ReserveResponse:
        """Hold an estimate in every budget of the call, or in none."""
        command = Reserve(
            reservation_id=request.reservation_id or new_reservation_id(),
            attribution=read_attribution(request),
            estimate=read_estimate(request),
            ttl=read_duration(request.ttl, "ttl") if request.HasField("ttl") else self._ttl_default,
            digest=_digest(info.canonical),
            labels=dict(request.labels),
            priority=PRIORITY_OF.get(request.priority, Priority.NORMAL),
            override_id=request.override_id,
            override_request=_override_request(request),
            validate_only=request.validate_only,
            actor=info.actor,
        )
        answer = await self._gate.submit(request.organization, command, timeout_s=info.timeout_s)
        return _admission(pb.ReserveResponse, answer)

    async def Commit(self, request: pb.CommitRequest, info: CallInfo) -> pb.CommitResponse:
        """Record the real cost and end the hold."""
        command = Commit(
            reservation_id=request.reservation_id,
            cost=read_cost(request),
            outcome=OUTCOME_OF.get(request.outcome, Outcome.SUCCEEDED),
            digest=_digest(info.canonical),
            metrics=read_metrics(request),
            revenue_currency=request.metrics.revenue.currency_code,
            labels=dict(request.labels),
            actor=info.actor,
        )
        answer = await self._gate.submit(request.organization, command, timeout_s=info.timeout_s)
        committed, organization = answer.verdict, answer.organization
        assert isinstance(committed, Committed)
        held, execution = committed.reservation, committed.execution
        assert execution is not None
        return pb.CommitResponse(
            reservation=write_reservation(held, organization),
            execution=write_execution(execution, organization),
            overage_amount=write_money(overage(held.amount, execution.cost), organization.currency),
            late=held.late,
            budgets=write_statuses(committed.balances, organization.currency),
        )

    async def Release(self, request: pb.ReleaseRequest, info: CallInfo) -> pb.ReleaseResponse:
        """Give the whole hold back."""
        command = Release(reservation_id=request.reservation_id, reason=request.reason, actor=info.actor)
        answer = await self._gate.submit(request.organization, command, timeout_s=info.timeout_s)
        held, organization = answer.verdict, answer.organization
        assert isinstance(held, Held)
        return pb.ReleaseResponse(
            reservation=write_reservation(held.reservation, organization),
            budgets=write_statuses(held.balances, organization.currency),
        )

    async def Extend(self, request: pb.ExtendRequest, info: CallInfo) -> pb.ExtendResponse:
        """Prolong the hold, raise it, or both."""
        command = Extend(
            reservation_id=request.reservation_id,
            ttl=read_duration(request.ttl, "ttl") if request.HasField("ttl") else None,
            amount=read_money(request.amount, "amount") if request.HasField("amount") else None,
            actor=info.actor,
        )
        answer = await self._gate.submit(request.organization, command, timeout_s=info.timeout_s)
        return _admission(pb.ExtendResponse, answer)

    async def GetStatus(self, request: pb.GetStatusRequest, _info: CallInfo) -> pb.GetStatusResponse:
        """Tell how budgets stand."""
        scopes = [read_scope(scope, f"scopes[{index}]") for index, scope in enumerate(request.scopes)]
        status = await self._budgets.status(request.organization, scopes, read_period(request.period))
        name, currency = status.organization.organization, status.organization.currency
        answer = pb.GetStatusResponse(can_execute=status.can_execute, budgets=write_statuses(status.balances, currency))
        if status.organization.overrides_until is not None:
            now, in_force = await self._grants.in_force(request.organization, scopes)
            answer.overrides.extend(write_override(override, name, currency, now) for override in in_force)
            asked = [ORGANIZATION, *scopes]
            pays = any(override.scope in asked and override.remaining > ZERO for override in in_force)
            answer.can_execute = status.can_execute or (pays and not status.frozen)
        return answer

    async def SetCap(self, request: pb.SetCapRequest, info: CallInfo) -> pb.SetCapResponse:
        """Set a budget."""
        floors = read_floors(request.floors)
        command = SetCap(
            scope=read_scope(request.scope, "scope"),
            window=WINDOW_OF.get(request.window, Window.MONTH),
            cap=read_money(request.cap, "cap") if request.HasField("cap") else None,
            enforcement=ENFORCEMENT_OF.get(request.enforcement),
            thresholds=tuple(request.thresholds),
            floor_normal=floors.get(Priority.NORMAL),
            floor_batch=floors.get(Priority.BATCH),
            frozen=request.frozen if request.HasField("frozen") else None,
            reason=request.reason,
            etag=request.etag,
        )
        set_now = await self._budgets.set_cap(request.organization, command, info.actor)
        return pb.SetCapResponse(budget=write_budget(set_now.budget, set_now.balance, set_now.organization.currency))

    async def SetOverride(self, request: pb.SetOverrideRequest, info: CallInfo) -> pb.SetOverrideResponse:
        """Make, approve, decline or end an override."""
        return await set_override(self._grants, request, info.actor)

    async def RequestOverride(self, request: pb.RequestOverrideRequest, info: CallInfo) -> pb.RequestOverrideResponse:
        """Ask the admins for an override."""
        return await request_override(self._grants, request, info.actor)

    def ExportInvoice(self, request: pb.ExportInvoiceRequest, info: CallInfo) -> AsyncGenerator[bytes | None]:
        """Issue a month's invoice, or show a draft, and render its files."""
        return self._exports.messages(request, info.actor)


def _override_request(request: pb.ReserveRequest) -> str:
    """Read why an override is wanted; it would be for this very reservation."""
    if request.override_request and not request.reservation_id:
        problem = "is required with override_request: the override would be for this id"
        raise errors.InvalidField(field="reservation_id", problem=problem)
    return request.override_request


def _denial(denial: Denial, organization: Organization) -> reservation_pb2.Denial:
    written = write_denial(denial, organization.currency)
    if asked := denial.requested_override:
        name, currency = organization.organization, organization.currency
        written.requested_override.CopyFrom(write_override(asked, name, currency, denial.denied_at))
    return written


def _admission(response: type[R], answer: Answer) -> R:
    """Write an admission verdict, which Reserve and Extend share."""
    verdict, organization = answer.verdict, answer.organization
    budgets = write_statuses(verdict.balances, organization.currency)
    if isinstance(verdict, Denial):
        return response(denial=_denial(verdict, organization), budgets=budgets)
    assert isinstance(verdict, Held)
    return response(reservation=write_reservation(verdict.reservation, organization), budgets=budgets)
