"""How does an override come about, and how does it end?

A worked example, where more than 50.00 needs two admins::

    an agent asks for 80.00       PENDING, for a day or its ttl, whichever is longer
    ada approves                  PENDING, granted by ada; ada again is refused
    grace approves, but 60.00     ACTIVE from now on for its ttl, approved by grace
    ada turns it off              ENDED; what is held under it stays held

Had grace approved 40.00 only, one admin would have been enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from . import errors
from .access import Actor
from .audit import AuditAction
from .commands import Money
from .money import ZERO, plain
from .organization import Organization
from .override_steps import Step, Target, target_of
from .overrides import Override, OverrideState

TTL_DEFAULT = timedelta(hours=1)
# How long a request waits for an admin at least.
PATIENCE = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLimits:
    """What bounds the overrides of an organization; see the settings `overrides_max` and what stands beside it.

    `second_admin_above` is None where one admin is always enough.
    """

    in_force_max: int
    requests_max: int
    second_admin_above: Decimal | None = None

    def need_second(self, amount: Decimal) -> bool:
        """Tell whether an override of this amount waits for a second admin."""
        return self.second_admin_above is not None and amount > self.second_admin_above


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked for, or granted unasked; `override_id` is empty where whoever does so has chosen none."""

    target: Target
    max_amount: Money
    reason: str
    ttl: timedelta = TTL_DEFAULT
    override_id: str = ""

    def made(self, override: Override) -> bool:
        """Tell whether an override is the one that was granted on these terms."""
        told = (target_of(override), override.max_amount, override.ttl, override.reason)
        return told == (self.target, self.max_amount.amount, self.ttl, self.reason) and not override.requested_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An admin's yes. None: as it was asked for."""

    reason: str
    max_amount: Money | None = None
    ttl: timedelta | None = None


def ask(organization: Organization, override_id: str, terms: Terms, actor: Actor, now: datetime) -> Step:
    """Return the step to a request, which waits for an admin. Raises `CurrencyMismatch` or `InvalidField`."""
    asked = replace(
        _new(organization, override_id, terms, now),
        requested_by=actor.caller.name,
        requested_by_id=actor.caller.caller_id,
    )
    return _step(AuditAction.OVERRIDE_REQUESTED, None, asked, actor, now, reason=terms.reason)


def grant(
    organization: Organization, override_id: str, terms: Terms, actor: Actor, now: datetime, *, limits: GrantLimits
) -> Step:
    """Return the step to an override that an admin makes unasked: in force, or waiting for a second admin.

    Raises `CurrencyMismatch` or `InvalidField`.
    """
    override = _granted(_new(organization, override_id, terms, now), actor)
    if not limits.need_second(override.max_amount):
        override = _in_force(override, now)
    return _step(AuditAction.OVERRIDE_GRANTED, None, override, actor, now, reason=terms.reason)


def approve(
    organization: Organization,
    override: Override,
    approval: Approval,
    actor: Actor,
    now: datetime,
    *,
    limits: GrantLimits,
) -> Step | None:
    """Return the step that an admin's yes makes; None where the override is in force already.

    Raises `OverrideOver`, `OverrideNeedsAnother`, `CurrencyMismatch` or `InvalidField`.
    """
    state = override.state_at(now)
    if state is OverrideState.ACTIVE:
        return None
    if state is not OverrideState.PENDING:
        raise errors.OverrideOver(override_id=override.override_id, state=state.lower())
    lowered = _lowered(organization, override, approval)
    if limits.need_second(lowered.max_amount) and not _is_second(organization, lowered, actor):
        waiting = replace(_granted(lowered, actor), expires_at=_patience_ends(lowered.ttl, now))
        return _step(AuditAction.OVERRIDE_GRANTED, override, waiting, actor, now, reason=approval.reason)
    if not override.granted_by:
        granted = _in_force(_granted(lowered, actor), now)
        return _step(AuditAction.OVERRIDE_GRANTED, override, granted, actor, now, reason=approval.reason)
    approved = _in_force(_approved(lowered, actor), now)
    return _step(AuditAction.OVERRIDE_APPROVED, override, approved, actor, now, reason=approval.reason)


def end(override: Override, reason: str, actor: Actor, now: datetime) -> Step | None:
    """Return the step to an admin's no, or to the end of what is in force; None where it is over already."""
    state = override.state_at(now)
    if state not in {OverrideState.PENDING, OverrideState.ACTIVE}:
        return None
    is_pending = state is OverrideState.PENDING
    over = replace(
        override,
        state=OverrideState.DECLINED if is_pending else OverrideState.ENDED,
        ended_by=actor.caller.name,
        ended_at=now,
    )
    action = AuditAction.OVERRIDE_DECLINED if is_pending else AuditAction.OVERRIDE_ENDED
    return _step(action, override, over, actor, now, reason=reason)


def _new(organization: Organization, override_id: str, terms: Terms, now: datetime) -> Override:
    return Override(
        override_id=override_id,
        scope=terms.target.scope,
        reservation_id=terms.target.reservation_id,
        max_amount=_amount(organization, terms.max_amount),
        ttl=terms.ttl,
        state=OverrideState.PENDING,
        created_at=now,
        expires_at=_patience_ends(terms.ttl, now),
        reason=terms.reason,
    )


def _patience_ends(ttl: timedelta, now: datetime) -> datetime:
    return now + max(PATIENCE, ttl)


def _in_force(override: Override, now: datetime) -> Override:
    return replace(override, state=OverrideState.ACTIVE, expires_at=now + override.ttl)


def _granted(override: Override, actor: Actor) -> Override:
    return replace(override, granted_by=actor.caller.name, granted_by_id=actor.caller.caller_id)


def _approved(override: Override, actor: Actor) -> Override:
    """Name the second admin; there is none where the first one has lowered the amount to what needs no second."""
    is_same = actor.caller.caller_id == override.granted_by_id
    return override if is_same else replace(override, approved_by=actor.caller.name)


def _lowered(organization: Organization, override: Override, approval: Approval) -> Override:
    amount = override.max_amount if approval.max_amount is None else _amount(organization, approval.max_amount)
    if amount > override.max_amount:
        problem = f"must be at most what was asked for, {plain(override.max_amount)}"
        raise errors.InvalidField(field="max_amount", problem=problem)
    return replace(override, max_amount=amount, ttl=approval.ttl or override.ttl)


def _is_second(organization: Organization, override: Override, actor: Actor) -> bool:
    """Tell whether an admin is another than the one who has granted it. Who is not known is nobody else."""
    if not override.granted_by:
        return False
    caller_id = actor.caller.caller_id
    if not caller_id or caller_id == override.granted_by_id:
        raise errors.OverrideNeedsAnother(
            override_id=override.override_id,
            amount=f"{plain(override.max_amount)} {organization.currency}",
            granted_by=override.granted_by,
        )
    return bool(override.granted_by_id)


def _amount(organization: Organization, money: Money) -> Decimal:
    if money.currency not in {"", organization.currency}:
        raise errors.CurrencyMismatch(
            organization=organization.organization, currency=organization.currency, given=money.currency
        )
    if money.amount <= ZERO:
        raise errors.InvalidField(field="max_amount", problem="must be more than zero")
    return money.amount


def _step(
    action: AuditAction, before: Override | None, after: Override, actor: Actor, now: datetime, *, reason: str
) -> Step:
    return Step(action=action, before=before, after=after, actor=actor, taken_at=now, reason=reason)
