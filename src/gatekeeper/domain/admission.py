"""How is a reservation decided? `decide` is the whole rule.

A worked example. A call asks for 3.00 under two enforced budgets::

    organization  cap 100.00  spent 40.00  reserved 50.00   room 10.00   passes
    campaign      cap  20.00  spent 10.00  reserved  8.00   room  2.00   lacks 1.00

What the campaign has spent leaves room (10.00 + 3.00 ≤ 20.00), its open holds do not: the verdict is HEADROOM_HELD,
with a shortfall of 1.00, and a later try may pass. Had it spent 18.00 instead, the verdict were OUT_OF_BUDGET. Had
the campaign a floor of 90 % for BATCH calls, such a call would be measured against 18.00 instead of 20.00.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from .alerts import budget_name
from .budget import Balance, BalanceKey, Enforcement, Priority
from .money import ZERO, plain


class DenialReason(StrEnum):
    """Why a call is not admitted, in order of precedence."""

    UNPRICED_MODEL = "UNPRICED_MODEL"
    BUDGET_FROZEN = "BUDGET_FROZEN"
    OUT_OF_BUDGET = "OUT_OF_BUDGET"
    HEADROOM_HELD = "HEADROOM_HELD"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The call may be made. `strained` are the budgets that, enforced, would have denied it."""

    strained: Sequence[Balance] = ()


class Lack(NamedTuple):
    """What a budget lacks for a call: `shortfall` below the limit of its priority, `beyond` above the cap itself."""

    key: BalanceKey
    shortfall: Decimal
    beyond: Decimal


@dataclass(frozen=True, slots=True)
class Denied:
    """The call must not be made; `balance` stands in its way, and lacks `shortfall`.

    `lacks` has every budget that lacks something. `floor_percent` is the floor that the call's priority
    stops at, 100 where it may use all of the cap. `strained` are as in `Admitted`.
    """

    reason: DenialReason
    balance: Balance | None = None
    shortfall: Decimal = ZERO
    lacks: Sequence[Lack] = ()
    floor_percent: int = 100
    strained: Sequence[Balance] = ()

    @property
    def is_for_money(self) -> bool:
        """Whether more money would let the call through, as an override has it."""
        return bool(self.lacks)


ADMITTED = Admitted()
UNPRICED = Denied(DenialReason.UNPRICED_MODEL)


def decide(
    amount: Decimal | None, balances: Sequence[Balance], priority: Priority = Priority.NORMAL
) -> Admitted | Denied:
    """Decide whether `amount` more may be held in all of `balances` together. None: the call has no price.

    Of several budgets that deny for the same reason, the one that lacks most is named.
    """
    if amount is None:
        return UNPRICED
    for balance in balances:
        if balance.frozen:
            return Denied(DenialReason.BUDGET_FROZEN, balance)
    worst: Denied | None = None
    strained: list[Balance] = []
    lacks: list[Lack] = []
    for balance in balances:
        limit = balance.limit(priority)
        shortfall = amount + balance.spent + balance.reserved - limit
        if shortfall <= ZERO:
            continue
        if balance.enforcement is not Enforcement.ENFORCE:
            strained.append(balance)
            continue
        lacks.append(Lack(balance.key, shortfall, shortfall + limit - balance.cap))
        out = amount + balance.spent > limit
        reason = DenialReason.OUT_OF_BUDGET if out else DenialReason.HEADROOM_HELD
        if worst is None or _outranks(reason, shortfall, worst):
            worst = Denied(reason, balance, shortfall, lacks, balance.floors.percent(priority), strained)
    if worst is not None:
        return worst
    return Admitted(strained) if strained else ADMITTED


def _outranks(reason: DenialReason, shortfall: Decimal, other: Denied) -> bool:
    if reason is other.reason:
        return shortfall > other.shortfall
    return reason is DenialReason.OUT_OF_BUDGET


def would_deny(verdict: Admitted | Denied) -> bool:
    """Tell whether a SHADOW budget would have denied the call."""
    return any(balance.enforcement is Enforcement.SHADOW for balance in verdict.strained)


def explain(denied: Denied, amount: Decimal | None, model: str, currency: str) -> str:
    """Return the denial as a sentence for people."""
    balance = denied.balance
    if balance is None or amount is None:
        return f"No price is known for model {model!r}; ask an admin to price it, or reserve an amount."
    name = budget_name(balance.key)
    if denied.reason is DenialReason.BUDGET_FROZEN:
        return f"{name} is frozen; an admin has to thaw it."
    used = f"{plain(balance.spent)} spent and {plain(balance.reserved)} held of {plain(balance.cap)} {currency}"
    lack = f"{plain(amount)} asked, {plain(denied.shortfall)} too much"
    if denied.floor_percent < 100:  # noqa: PLR2004
        lack = f"calls of this priority may use {denied.floor_percent} % of it; {lack}"
    if denied.reason is DenialReason.OUT_OF_BUDGET:
        return f"{name} has no room: {used}; {lack}."
    return f"{name} has no room while calls are under way: {used}; {lack}. Try again later."
