"""What does setting a cap do to a budget, and to its current period?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from . import errors
from .access import Actor
from .alerts import Alert, rearm
from .audit import AuditAction, AuditEvent, Content
from .budget import DEFAULT_THRESHOLDS, Balance, Budget, Enforcement, ExcessKind, Floors, Scope
from .commands import Money
from .money import ZERO, plain
from .organization import Organization
from .periods import Window
from .verdicts import Excess


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCap:
    """What is to change of a budget. None: stays as it is. An empty etag is not compared."""

    scope: Scope
    window: Window
    cap: Money | None = None
    enforcement: Enforcement | None = None
    thresholds: Sequence[int] = ()
    floor_normal: int | None = None
    floor_batch: int | None = None
    frozen: bool | None = None
    reason: str = ""
    etag: str = ""


def etag_of(budget: Budget) -> str:
    """Return the version of a budget for optimistic locking."""
    return f"{budget.revision}"


def change(organization: Organization, budget: Budget | None, command: SetCap) -> Budget:
    """Return the budget as it is after `command`; None stands for one that is not there yet."""
    if command.etag and (budget is None or command.etag != etag_of(budget)):
        raise errors.EtagMismatch(etag="" if budget is None else etag_of(budget))
    if command.cap and command.cap.currency not in {"", organization.currency}:
        raise errors.CurrencyMismatch(
            organization=organization.organization, currency=organization.currency, given=command.cap.currency
        )
    if any(lower >= upper for lower, upper in pairwise(command.thresholds)):
        raise errors.InvalidField(field="thresholds", problem="must ascend, like 80, 95, 100")
    if budget is None:
        if command.cap is None:
            raise errors.InvalidField(field="cap", problem="is required for a budget that is not there yet")
        budget = Budget(scope=command.scope, window=command.window, cap=command.cap.amount, revision=0)
    return replace(
        budget,
        cap=budget.cap if command.cap is None else command.cap.amount,
        enforcement=command.enforcement or budget.enforcement,
        thresholds=tuple(command.thresholds) or budget.thresholds or DEFAULT_THRESHOLDS,
        floors=_floors(budget.floors, command),
        frozen=budget.frozen if command.frozen is None else command.frozen,
        reason=command.reason,
        revision=budget.revision + 1,
    )


def _floors(before: Floors, command: SetCap) -> Floors:
    normal = before.normal if command.floor_normal is None else command.floor_normal
    batch = min(before.batch, normal) if command.floor_batch is None else command.floor_batch
    if batch > normal:
        raise errors.InvalidField(field="floors", problem="BATCH must stop at or below NORMAL")
    return Floors(normal, batch)


def change_event(before: Budget | None, after: Budget, actor: Actor, now: datetime) -> AuditEvent:
    """Return what is written down about a budget that was set; of one that was frozen or let go on, that."""
    action = AuditAction.BUDGET_SET
    if after.frozen != (before is not None and before.frozen):
        action = AuditAction.BUDGET_FROZEN if after.frozen else AuditAction.BUDGET_UNFROZEN
    scope = f"{after.scope.kind.lower()} {after.scope.id!r}" if after.scope.id else after.scope.kind.lower()
    return AuditEvent(
        action=action,
        actor=actor,
        subject=f"budget of {scope}, {after.window.lower()}",
        occurred_at=now,
        before=None if before is None else _content(before),
        after=_content(after),
        reason=after.reason,
    )


def _content(budget: Budget) -> Content:
    return {
        "cap": plain(budget.cap),
        "enforcement": budget.enforcement,
        "thresholds": ", ".join(map(str, budget.thresholds)),
        "floor_normal": str(budget.floors.normal),
        "floor_batch": str(budget.floors.batch),
        "frozen": str(budget.frozen).lower(),
        "revision": str(budget.revision),
    }


@dataclass(frozen=True, slots=True)
class Recapped:
    """A period under its changed budget: its balance, what stands above the cap now, and what is to be told."""

    balance: Balance
    excess: Excess | None
    alerts: Sequence[Alert]


def recap(balance: Balance, budget: Budget, currency: str, now: datetime) -> Recapped:
    """Put a budget's current period under its changed cap; record what now stands above it.

    A lowered cap blocks further calls and takes nothing back.
    """
    after = balance._replace(
        cap=budget.cap,
        enforcement=budget.enforcement,
        frozen=budget.frozen,
        floors=budget.floors,
        thresholds=budget.thresholds,
    )
    alerts, after = rearm(after, balance, currency, now)
    beyond = after.used - after.cap - after.excess - balance.paid_by_overrides
    if beyond <= ZERO or after.enforcement is not Enforcement.ENFORCE:
        return Recapped(after, None, alerts)
    excess = Excess(after.key, ExcessKind.CAP_CHANGED, beyond, "")
    return Recapped(after._replace(excess=after.excess + beyond), excess, alerts)
