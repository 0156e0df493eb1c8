"""How do tests ask which override pays for a call? The call is `i`, at noon, of nobody who is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gatekeeper.domain.admission import DenialReason, Denied, Lack
from gatekeeper.domain.budget import ORGANIZATION, BalanceKey, Scope, ScopeKind
from gatekeeper.domain.overrides import Override, Overrides, OverrideState, Payment
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Attribution

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CALL = Attribution(department="d", campaign="c", agent="a", run="r")
CAMPAIGN = Scope(ScopeKind.CAMPAIGN, "c")
TARGETS = {
    "reservation": None,
    "run": Scope(ScopeKind.RUN, "r"),
    "agent": Scope(ScopeKind.AGENT, "a"),
    "campaign": CAMPAIGN,
    "department": Scope(ScopeKind.DEPARTMENT, "d"),
    "organization": ORGANIZATION,
}


def override(
    override_id: str = "o",
    scope: Scope | None = ORGANIZATION,
    *,
    max_amount: str = "10",
    state: OverrideState = OverrideState.ACTIVE,
    expires_at: datetime = NOON + timedelta(hours=1),
) -> Override:
    """Return an override that pays for the call `i` where it has no scope."""
    return Override(
        override_id=override_id,
        scope=scope,
        reservation_id="i" if scope is None else "",
        max_amount=Decimal(max_amount),
        ttl=timedelta(hours=1),
        state=state,
        created_at=NOON - timedelta(hours=1),
        expires_at=expires_at,
        reason="why",
    )


def lacking(shortfall: str, *, scope: Scope = ORGANIZATION, room_above: str = "0") -> Lack:
    """Return what a month's budget lacks; `room_above` is what lies between the limit of the call and the cap."""
    lack = Decimal(shortfall)
    return Lack(BalanceKey(scope, Window.MONTH, "2026-11"), lack, lack - Decimal(room_above))


def paid_in(
    overrides: Overrides, denied: Denied, amount: str = "1", *, named: str = "", call: Attribution = CALL
) -> Payment | None:
    """Return how the call `i` of nobody who is known is paid for, which was denied like this."""
    return overrides.payment(denied, call, Decimal(amount), reservation_id="i", caller_id="", named=named)


def payment_of(
    *found: Override, amount: str = "1", named: str = "", call: Attribution = CALL, lacks: tuple[Lack, ...] = ()
) -> Payment | None:
    """Return how the call `i` is paid for, which lacks all of its amount unless told otherwise."""
    denied = Denied(DenialReason.OUT_OF_BUDGET, lacks=lacks or (lacking("1000"),))
    return paid_in(Overrides(found, NOON), denied, amount, named=named, call=call)


def payer_of(*found: Override, amount: str = "1", named: str = "", call: Attribution = CALL) -> str | None:
    """Return which override pays for the call `i`, all of which is beyond the cap."""
    payment = payment_of(*found, amount=amount, named=named, call=call)
    return payment.payer.override_id if payment else None
