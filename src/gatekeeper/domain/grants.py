"""How does an override come about, and how does it end?

A worked example, where more than 50.00 needs two admins::

    an agent asks for 80.00       PENDING, for a day
    ada approves                  PENDING, granted by ada; ada again is refused
    grace approves, but 60.00     ACTIVE from now on for its ttl, approved by grace
    ada turns it off              ENDED; what is held under it stays held

Had ada approved 40.00 only, one admin would have been enough, unless she had granted more than 10.00 alone already.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from . import errors
from .access import Actor, Role
from .audit import AuditAction
from .budget import Scope
from .commands import Money
from .money import ZERO, plain
from .organization import Organization
from .override_steps import Step, Target
from .overrides import Override, OverrideState
from .second_admins import Standing

TTL_DEFAULT = timedelta(hours=1)
# How long a request waits for an admin.
PATIENCE = timedelta(hours=24)
# What the ids of overrides begin with that servers make at their start; others' do not.
AT_START = "start-"
# Of all requests that may wait, a caller may have one in so many: no agent keeps the others from being heard.
REQUESTERS_MIN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLimits:
    """What bounds the overrides of an organization; see the settings `overrides_max` and what stands beside it.

    `second_admin_above` is None where one admin is always enough.
    """

    in_force_max: int
    requests_max: int
    second_admin_above: Decimal | None = None

    @property
    def requests_of_one_max(self) -> int:
        """How many requests of one caller may wait, where callers can be told apart."""
        return max(1, self.requests_max // REQUESTERS_MIN)

    def need_second(self, amount: Decimal, admin: Standing) -> bool:
        """Tell whether an override of this amount, with what the admin has granted alone, waits for a second admin."""
        return self.second_admin_above is not None and amount + admin.granted_alone > self.second_admin_above


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked for, or granted unasked; `override_id` is empty where whoever does so has chosen none.

    `call_scopes` are those of the call that asks, besides its organization; None where it is no call that asks.
    """

    target: Target
    max_amount: Money
    reason: str
    ttl: timedelta = TTL_DEFAULT
    override_id: str = ""
    call_scopes: tuple[Scope, ...] | None = None

    def made(self, override: Override) -> bool:
        """Tell whether an override is the one that was granted on these terms, however much was approved of it."""
        return override.terms_digest == self.digest() and not override.requested_by

    def digest(self) -> bytes:
        """Return what stands for the terms, to tell a retry from something else."""
        scope, reservation_id = self.target
        told = [scope, reservation_id, plain(self.max_amount.amount), str(self.ttl), self.reason]
        return hashlib.sha256(json.dumps(told).encode()).digest()


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
        bound_scopes=_bound_scopes(terms, actor),
    )
    return _step(AuditAction.OVERRIDE_REQUESTED, None, asked, actor, now, reason=terms.reason)


def grant(
    organization: Organization,
    override_id: str,
    terms: Terms,
    actor: Actor,
    now: datetime,
    *,
    limits: GrantLimits,
    admin: Standing,
) -> Step:
    """Return the step to an override that an admin makes unasked: in force, or waiting for a second admin.

    Raises `CurrencyMismatch` or `InvalidField`.
    """
    override = _granted(_new(organization, override_id, terms, now), actor)
    if not limits.need_second(override.max_amount, admin):
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
    admin: Standing,
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
    if admin.hand.is_second(override):
        approved = _in_force(replace(lowered, approved_by=actor.caller.name), now)
        return _step(AuditAction.OVERRIDE_APPROVED, override, approved, actor, now, reason=approval.reason)
    if limits.need_second(lowered.max_amount, admin):
        _demand_first(organization, lowered, actor)
        granted = replace(_granted(lowered, actor), expires_at=now + PATIENCE)
    else:
        granted = _in_force(_granted(lowered, actor), now)
    return _step(AuditAction.OVERRIDE_GRANTED, override, granted, actor, now, reason=approval.reason)


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
        expires_at=now + PATIENCE,
        reason=terms.reason,
        terms_digest=terms.digest(),
    )


def _bound_scopes(terms: Terms, actor: Actor) -> tuple[Scope, ...] | None:
    """Return what the call has to be for that a request is about: an admin may ask for a call of anybody's."""
    caller = actor.caller
    if terms.target.scope is not None:
        return None
    if terms.call_scopes is not None or caller.role is not Role.AGENT:
        return terms.call_scopes
    return () if caller.scope is None else (caller.scope,)


def _in_force(override: Override, now: datetime) -> Override:
    return replace(override, state=OverrideState.ACTIVE, expires_at=now + override.ttl)


def _granted(override: Override, actor: Actor) -> Override:
    return replace(override, granted_by=actor.caller.name, granted_by_id=actor.caller.caller_id)


def _lowered(organization: Organization, override: Override, approval: Approval) -> Override:
    amount = override.max_amount if approval.max_amount is None else _amount(organization, approval.max_amount)
    ttl = approval.ttl or override.ttl
    if amount > override.max_amount:
        problem = f"must be at most what was asked for, {plain(override.max_amount)}"
        raise errors.InvalidField(field="max_amount", problem=problem)
    if override.granted_by and ttl > override.ttl:
        problem = f"must be at most what was granted, {override.ttl.total_seconds():.0f} s"
        raise errors.InvalidField(field="ttl", problem=problem)
    return replace(override, max_amount=amount, ttl=ttl)


def _demand_first(organization: Organization, override: Override, actor: Actor) -> None:
    """Raise `OverrideNeedsAnother` where there is a first admin already; whoever is not known is nobody else."""
    if override.granted_by and (override.granted_by_id or not actor.caller.caller_id):
        raise errors.OverrideNeedsAnother(
            override_id=override.override_id,
            amount=f"{plain(override.max_amount)} {organization.currency}",
            granted_by=override.granted_by,
        )


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
