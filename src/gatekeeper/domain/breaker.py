"""Does a run or an agent spend as if it had run away?

Two limits, of which either may be set: so much in a minute, and so many times its normal. Its normal is what it spent
in a minute of the hour before, on average over the minutes in which it spent anything; fewer than five of them make no
normal. A worked example, with a limit of 10 times normal::

    the hour before   6.00 in 12 minutes that cost something     normal: 0.50 a minute
    the last minute   5.00                                       ten times 0.50, and not more: it goes on
    the last minute   5.01                                       it is stopped
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .access import Actor, Caller, Role
from .budget import Balance, Scope, ScopeKind
from .money import ZERO, plain
from .periods import Window

# Minutes of the hour before that must have cost something.
ACTIVE_MINUTES_MIN = 5

# What is watched, and the budget that is made for one that has none: runs end, agents stay.
WINDOWS = {ScopeKind.RUN: Window.TOTAL, ScopeKind.AGENT: Window.MONTH}

# Who freezes.
BREAKER = Actor(Caller(caller_id="", name="breaker", role=Role.OPERATOR), "")
# What the reason of a budget that was frozen begins with.
BY_BREAKER = "breaker: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a run or agent may spend in a minute; None: not limited so."""

    per_minute_max: Decimal | None = None
    times_normal: Decimal | None = None

    def __bool__(self) -> bool:
        """Tell whether anything is limited."""
        return self.per_minute_max is not None or self.times_normal is not None


@dataclass(frozen=True, slots=True)
class Normal:
    """What was spent in the hour before the last minute, and in how many of its minutes."""

    spent: Decimal
    active_minutes: int

    def per_minute(self) -> Decimal | None:
        """Return the mean of the minutes that cost something; None: there is no normal."""
        is_known = self.active_minutes >= ACTIVE_MINUTES_MIN and self.spent > ZERO
        return self.spent / self.active_minutes if is_known else None


NOTHING = Normal(ZERO, 0)


def exceeded(spent: Decimal, normal: Normal, limits: Limits, currency: str) -> str:
    """Return which limit `spent`, of the last minute, is beyond, in words; empty: none."""
    if limits.per_minute_max is not None and spent > limits.per_minute_max:
        return f"the limit of {plain(limits.per_minute_max)} {currency} a minute"
    per_minute = normal.per_minute()
    if limits.times_normal is not None and per_minute is not None and spent > limits.times_normal * per_minute:
        return f"{limits.times_normal:f} times its normal of {plain(per_minute)} {currency} a minute"
    return ""


def least_limit(limits: Limits) -> Decimal:
    """Return what a run or agent must spend in a minute, at least, to be looked at."""
    if limits.per_minute_max is None or limits.times_normal is not None:
        return ZERO
    return limits.per_minute_max


def reason_of(spent: Decimal, limit: str, currency: str) -> str:
    """Return why a budget is frozen."""
    return f"{BY_BREAKER}{plain(spent)} {currency} spent within a minute, more than {limit}"


def message_of(organization: str, balance: Balance, reason: str, currency: str) -> str:
    """Return what is told of a run or agent that was frozen, and how it goes on."""
    kind, name = balance.key.scope
    thaw = f"gatekeeper cap AMOUNT --organization {_quoted(organization)} --{kind.lower()} {_quoted(name)}"
    return (
        f"The {kind.lower()} {name!r} was frozen: {reason.removeprefix(BY_BREAKER)}. Its {balance.key.window.lower()}"
        f" budget ({balance.key.period}) stands at {plain(balance.used)} of {plain(balance.cap)} {currency}."
        f" To let it go on: {thaw} --window {balance.key.window.lower()} --thaw"
    )


def narrowest(balances: list[Balance]) -> Balance:
    """Return the balance of the shortest window."""
    return min(balances, key=lambda balance: [*Window].index(balance.key.window))


def _quoted(text: str) -> str:
    """Quote for a shell."""
    return f"'{text}'" if "'" not in text else repr(text)


__all__ = ["Scope"]
