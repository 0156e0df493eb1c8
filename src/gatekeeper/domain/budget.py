"""What is a budget, and how does one of its periods stand?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from .money import ZERO
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
    frozen: bool = False
    revision: int = 1
    reason: str = ""
    updated_at: datetime | None = None


class Balance(NamedTuple):
    """How one period of a budget stands. A named tuple, since the hot path makes some for every call.

    `excess` is how far an enforced budget may stand above its cap, by excesses that each have a row of their own.
    """

    key: BalanceKey
    cap: Decimal
    enforcement: Enforcement
    frozen: bool
    reserved: Decimal = ZERO
    spent: Decimal = ZERO
    excess: Decimal = ZERO
    would_deny_count: int = 0

    @property
    def used(self) -> Decimal:
        """Spent and reserved together."""
        return self.spent + self.reserved

    @property
    def available(self) -> Decimal:
        """What a call may still reserve, never below zero."""
        return max(ZERO, self.cap - self.spent - self.reserved)

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
