"""When may an override pay for a call that the budgets have no room for, and what has it paid?

An override reaches calls by their scope, or one call by its reservation's id, and lets them past every cap in the way:
a run's override gets the run past the organization's cap as well. It pays for the part beyond the caps, or beyond the
floor of the call's priority, out of the amount that was granted and under the organization's lock: it cannot be
overdrawn. A frozen budget stays frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from .access import Actor
from .admission import Denied
from .audit import AuditAction, AuditEvent
from .budget import Scope, ScopeKind
from .money import NANO, ZERO, plain
from .override_use import OverrideUse, Parts
from .reservation import Attribution, Reservation


class OverrideState(StrEnum):
    """Where an override is in its life. EXPIRED is never written: it is a matter of the clock."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    ENDED = "ENDED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A permission to spend up to `max_amount` past the caps, of calls of a scope or of one reservation.

    `expires_at` ends a request (PENDING) that nobody approved, or what was granted. `reserved` is booked for open
    holds, `spent` for what they have cost. Names of who asked, granted, approved as the second, and ended it; of the
    first two also the caller's id, since whoever grants cannot be the second to approve.

    `bound_scopes` are of the call that asked for it: where they are not None, it pays for calls of that caller only
    that fall under all of them. `terms_digest` stands for what was asked for at first, before an admin lowered it.
    """

    override_id: str
    scope: Scope | None
    reservation_id: str
    max_amount: Decimal
    ttl: timedelta
    state: OverrideState
    created_at: datetime
    expires_at: datetime
    reason: str
    reserved: Decimal = ZERO
    spent: Decimal = ZERO
    requested_by: str = ""
    requested_by_id: str = ""
    granted_by: str = ""
    granted_by_id: str = ""
    approved_by: str = ""
    ended_by: str = ""
    ended_at: datetime | None = None
    bound_scopes: tuple[Scope, ...] | None = None
    terms_digest: bytes = b""

    @property
    def remaining(self) -> Decimal:
        """What it can still pay."""
        return self.max_amount - self.reserved - self.spent

    def is_in_force(self, now: datetime) -> bool:
        """Tell whether it can pay at all."""
        return self.state is OverrideState.ACTIVE and now < self.expires_at

    def state_at(self, now: datetime) -> OverrideState:
        """Return its state, with the clock taken into account."""
        is_open = self.state in {OverrideState.PENDING, OverrideState.ACTIVE}
        return OverrideState.EXPIRED if is_open and now >= self.expires_at else self.state

    def reaches(self, attribution: Attribution, reservation_id: str, caller_id: str = "") -> bool:
        """Tell whether a call is one that it is for. Under --insecure nobody can be told from who has asked for it."""
        scopes = attribution.scopes()
        if self.scope is not None:
            return self.scope in scopes
        if self.bound_scopes is None:
            return reservation_id == self.reservation_id
        is_mine = reservation_id == self.reservation_id and self.requested_by_id in {"", caller_id}
        return is_mine and all(scope in scopes for scope in self.bound_scopes)

    def rank(self) -> tuple[int, datetime, str]:
        """Return what decides which of several pays: the narrowest first, then the one that ends first."""
        breadth = 0 if self.scope is None else len(ScopeKind) - [*ScopeKind].index(self.scope.kind)
        return breadth, self.expires_at, self.override_id


class Payment(NamedTuple):
    """What an override can pay so that a call goes through: `amount` in all, and the part beyond each budget's cap."""

    payer: Override
    amount: Decimal
    parts: Parts

    def use(self, known: OverrideUse | None = None) -> OverrideUse:
        """Return what the override is then booked for the reservation; `known` is what it is booked already."""
        if known is not None and known.amount:
            return known.more(self.amount, self.parts)
        return OverrideUse(self.payer.override_id, self.amount, self.parts)


class Overrides:
    """The overrides that one batch may need: those in force, and those that its reservations have used."""

    def __init__(self, found: Iterable[Override], now: datetime) -> None:
        """Take what was loaded under the organization's lock."""
        self.changed: dict[str, Override] = {}
        self._overrides = {override.override_id: override for override in found}
        self._now = now

    def knows(self, override_id: str) -> bool:
        """Tell whether an override of this id was loaded."""
        return override_id in self._overrides

    def payment(
        self,
        denied: Denied,
        attribution: Attribution,
        amount: Decimal,
        *,
        reservation_id: str,
        caller_id: str,
        named: str = "",
    ) -> Payment | None:
        """Return what lets a denied call of `amount` through, if there is; only by the `named` override, if one is."""
        if not denied.is_for_money:
            return None
        needed = max(min(amount, lack.shortfall) for lack in denied.lacks)
        parts = {lack.key[:2]: min(amount, lack.beyond) for lack in denied.lacks if lack.beyond > ZERO}
        fit = (
            override
            for override in self._overrides.values()
            if override.is_in_force(self._now)
            and (not named or override.override_id == named)
            and override.remaining >= max(needed, NANO)
            and override.reaches(attribution, reservation_id, caller_id)
        )
        payer = min(fit, key=Override.rank, default=None)
        return Payment(payer, needed, parts) if payer else None

    def overage(self, use: OverrideUse, parts: Parts) -> OverrideUse:
        """Return what an override has paid once it also pays what a call cost more than it held, as far as it can.

        `parts` are what of that is beyond each cap. An override that is over pays no more.
        """
        override = self._overrides.get(use.override_id)
        if not parts or override is None or not override.is_in_force(self._now):
            return use
        paid = min(max(parts.values()), override.remaining)
        if paid <= ZERO:
            return use
        return use.more(paid, {budget: min(part, paid) for budget, part in parts.items()})

    def book(self, payment: Payment) -> None:
        """Book a payment for an open hold."""
        override = self._overrides[payment.payer.override_id]
        self._put(replace(override, reserved=override.reserved + payment.amount))

    def settle(self, before: OverrideUse, after: OverrideUse, *, was_held: bool) -> None:
        """Book what a hold, or the charge for it, has cost in the end."""
        override = self._overrides.get(before.override_id)
        if override is None or before.amount == after.amount == ZERO:
            return
        reserved, spent = (before.amount, ZERO) if was_held else (ZERO, before.amount)
        self._put(replace(override, reserved=override.reserved - reserved, spent=override.spent - spent + after.amount))

    def _put(self, override: Override) -> None:
        self._overrides[override.override_id] = self.changed[override.override_id] = override


def use_event(payment: Payment, held: Reservation, actor: Actor, now: datetime) -> AuditEvent:
    """Return what is written down about a call that an override let through."""
    attribution = held.attribution
    return AuditEvent(
        action=AuditAction.OVERRIDE_USED,
        actor=actor,
        subject=f"override {payment.payer.override_id!r}",
        occurred_at=now,
        after={
            "override_id": payment.payer.override_id,
            "reservation_id": held.reservation_id,
            "department": attribution.department,
            "campaign": attribution.campaign,
            "agent": attribution.agent,
            "run": attribution.run,
            "model": held.model,
            "amount": plain(held.amount),
            "beyond": plain(payment.amount),
        },
        reason=payment.payer.reason,
    )
