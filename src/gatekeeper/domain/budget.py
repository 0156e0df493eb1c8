"""What is a budget, and how does one of its periods stand?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import NamedTuple

from .money import EXACT, NANO, ZERO
from .periods import Window

HUNDRED = Decimal(100)
DEFAULT_THRESHOLDS = (80, 95, 100)


class ScopeKind(StrEnum):
    """What a budget is about. Members stand in the order in which budgets are listed."""

    ORGANIZATION = "ORGANIZATION"
    DEPARTMENT = "DEPARTMENT"
    CAMPAIGN = "CAMPAIGN"
    AGENT = "AGENT"
    RUN = "RUN"


class Enforcement(StrEnum):
    """What happens to a call that the budget has no room for."""

    ENFORCE = "ENFORCE"
    WARN = "WARN"
    SHADOW = "SHADOW"


class Tier(StrEnum):
    """How far a budget is used."""

    OK = "OK"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    EXCEEDED = "EXCEEDED"


class Priority(StrEnum):
    """How much a call matters, where the last money is kept for what matters most."""

    CRITICAL = "CRITICAL"
    NORMAL = "NORMAL"
    BATCH = "BATCH"


class Floors(NamedTuple):
    """How much of the cap a priority may use, in percent; below that floor of the budget, what is left is for others.

    CRITICAL calls may always use all of it.
    """

    normal: int = 100
    batch: int = 100

    def percent(self, priority: Priority) -> int:
        """Return the share of the cap that calls of a priority may use."""
        if priority is Priority.CRITICAL:
            return 100
        return self.normal if priority is Priority.NORMAL else self.batch


NO_FLOORS = Floors()


class ExcessKind(StrEnum):
    """Why an enforced budget may stand above its cap."""

    OVERAGE = "OVERAGE"
    LATE_COMMIT = "LATE_COMMIT"
    CAP_CHANGED = "CAP_CHANGED"


class Scope(NamedTuple):
    """One thing that budgets are set on; the organization's own id is empty."""

    kind: ScopeKind
    id: str


ORGANIZATION = Scope(ScopeKind.ORGANIZATION, "")


class BalanceKey(NamedTuple):
    """Which period of which budget, within an organization."""

    scope: Scope
    window: Window
    period: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap on one scope over one window, standing until changed. `revision` counts its changes."""

    scope: Scope
    window: Window
    cap: Decimal
    enforcement: Enforcement = Enforcement.ENFORCE
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    floors: Floors = NO_FLOORS
    frozen: bool = False
    revision: int = 1
    reason: str = ""
    updated_at: datetime | None = None

    def fresh(self, period: str) -> Balance:
        """Return how a period stands that no call has touched."""
        key = BalanceKey(self.scope, self.window, period)
        return Balance(key, self.cap, self.enforcement, self.frozen, floors=self.floors, thresholds=self.thresholds)


class Alerted(NamedTuple):
    """The highest threshold that was alerted in a period, by each basis; `round` grows when the cap changes."""

    spent: int = 0
    used: int = 0
    round: int = 1


NOT_ALERTED = Alerted()


class Balance(NamedTuple):
    """How one period of a budget stands. A named tuple, since the hot path makes some for every call.

    `excess` is how far an enforced budget may stand above its cap, by excesses that each have a row of their own;
    `overridden` is how much of what is used overrides have paid for. `floors` and `thresholds` are the budget's.
    """

    key: BalanceKey
    cap: Decimal
    enforcement: Enforcement
    frozen: bool
    reserved: Decimal = ZERO
    spent: Decimal = ZERO
    excess: Decimal = ZERO
    would_deny_count: int = 0
    overridden: Decimal = ZERO
    alerted: Alerted = NOT_ALERTED
    floors: Floors = NO_FLOORS
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS

    @property
    def used(self) -> Decimal:
        """Spent and reserved together."""
        return self.spent + self.reserved

    @property
    def available(self) -> Decimal:
        """What a call may still reserve, never below zero."""
        return max(ZERO, self.cap - self.spent - self.reserved)

    @property
    def paid_by_overrides(self) -> Decimal:
        """How much of what stands above the cap overrides have paid for.

        It may be less than `overridden`: what an override paid for comes within the cap when other holds end.
        """
        return min(self.overridden, max(ZERO, self.spent + self.reserved - self.cap - self.excess))

    def limit(self, priority: Priority) -> Decimal:
        """Return how much of the budget calls of a priority may use, in whole nanos."""
        percent = self.floors.percent(priority)
        if percent == 100:  # noqa: PLR2004
            return self.cap
        return (self.cap * percent / HUNDRED).quantize(NANO, ROUND_FLOOR, context=EXACT)

    def utilization_percent(self) -> Decimal:
        """Return used ÷ cap in percent; a cap of zero counts as used up."""
        return HUNDRED * self.used / self.cap if self.cap else HUNDRED

    @property
    def tier(self) -> Tier:
        """How far it is used: a warning from 80 %, critical from 95 %, exceeded from 100 %."""
        used = HUNDRED * self.used
        if used >= HUNDRED * self.cap:
            return Tier.EXCEEDED
        if used >= 95 * self.cap:
            return Tier.CRITICAL
        return Tier.WARNING if used >= 80 * self.cap else Tier.OK

    def blocks(self) -> bool:
        """Tell whether no further call can be admitted."""
        return self.frozen or (self.enforcement is Enforcement.ENFORCE and self.used >= self.cap)
