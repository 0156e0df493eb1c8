"""Does a run or an agent spend as if it had run away?

Two limits, of which either may be set: so much in a minute, and so many times its normal. Its normal is what it spent
in a minute of the hour before, on average over the minutes that cost anything; fewer than five of them make no normal.
A worked example, with a limit of 10 times normal::

    the hour before   6.00 in 12 minutes that cost something     normal: 0.50 a minute
    the last minute   5.00                                       ten times 0.50, and not more: it goes on
    the last minute   5.01                                       it is stopped
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from .access import Actor, Caller, Role
from .alerts import Alert, AlertKind, budget_alert
from .budget import Balance, Budget, ScopeKind
from .money import EXACT, ZERO, plain
from .organization import Organization
from .periods import Window

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# Minutes of the hour before that must have cost something.
ACTIVE_MINUTES_MIN = 5

# What is watched, and the window of the budget that is made for one that has none: runs end, agents stay.
WINDOWS: Mapping[ScopeKind, Window] = {ScopeKind.RUN: Window.TOTAL, ScopeKind.AGENT: Window.MONTH}

# Who freezes, and what its reasons begin with.
BREAKER = Actor(Caller(caller_id="", name="breaker", role=Role.OPERATOR), "")
BY_BREAKER = "breaker: "


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """How much a run or agent may spend in a minute; None: not limited so."""

    per_minute_max: Decimal | None = None
    times_normal: Decimal | None = None

    def __bool__(self) -> bool:
        """Tell whether anything is limited."""
        return self.per_minute_max is not None or self.times_normal is not None

    @property
    def least(self) -> Decimal:
        """What one must have spent in a minute, at the least, to be beyond a limit."""
        return ZERO if self.per_minute_max is None or self.times_normal is not None else self.per_minute_max


@dataclass(frozen=True, slots=True)
class Normal:
    """What was spent in the hour before the last minute, and how many of its minutes cost anything."""

    spent: Decimal
    active_minutes: int

    def per_minute(self) -> Decimal | None:
        """Return the mean of the minutes that cost anything; None: there is no normal."""
        is_known = self.active_minutes >= ACTIVE_MINUTES_MIN and self.spent > ZERO
        return EXACT.divide(self.spent, Decimal(self.active_minutes)) if is_known else None


# What is before the command in an alert's message.
COMMAND_SIGN = " To let it go on: "
UNKNOWN = Normal(ZERO, 0)


def limit_passed(spent: Decimal, normal: Normal, limits: BreakerLimits, currency: str) -> str:
    """Return which limit is below `spent`, the last minute's cost, in words; empty: none."""
    if limits.per_minute_max is not None and spent > limits.per_minute_max:
        return f"the limit of {plain(limits.per_minute_max)} {currency} a minute"
    usual, times = normal.per_minute(), limits.times_normal
    if times is not None and usual is not None and spent > EXACT.multiply(times, usual):
        return f"{times.normalize():f} times its normal of {plain(usual)} {currency} a minute"
    return ""


def freeze_reason(spent: Decimal, limit: str, currency: str) -> str:
    """Return why a budget is frozen."""
    return f"{BY_BREAKER}{plain(spent)} {currency} within a minute, more than {limit}"


def runaway_alert(organization: Organization, budget: Budget, balance: Balance, now: datetime) -> Alert:
    """Return what is told of a run or agent whose budget was frozen: once for each time that it is."""
    kind, name = budget.scope.kind.lower(), budget.scope.id
    amount = "" if balance.available else "AMOUNT "
    thaw = (
        f"gatekeeper cap {amount}--organization {shlex.quote(organization.organization)} --{kind} {shlex.quote(name)}"
        f" --window {budget.window.lower()} --thaw"
    )
    message = (
        f"The {kind} {name!r} is frozen: {budget.reason.removeprefix(BY_BREAKER)}. Of its {budget.window.lower()}"
        f" budget ({balance.key.period}), {plain(balance.used)} of {plain(balance.cap)} {organization.currency} is"
        f" used.{COMMAND_SIGN}{thaw}"
    )
    return budget_alert(AlertKind.RUNAWAY, balance, message, now, subject=f"revision {budget.revision}")
