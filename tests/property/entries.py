"""What stands in the model's books: holds with all that came of them, the terms of budgets, and overrides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)
Scope = tuple[str, str]
Budget = tuple[Scope, str]


class Excess(NamedTuple):
    """How much further a period stands above its cap, for which no override has paid."""

    budget: Budget
    period: str
    kind: str
    amount: Decimal
    reservation_id: str = ""


@dataclass(kw_only=True)
class Payment:
    """What an override has paid: the most that a budget lacked, and what went beyond each cap."""

    payer: str = ""
    amount: Decimal = ZERO
    parts: dict[Budget, Decimal] = field(default_factory=dict)


@dataclass(kw_only=True)
class Hold:
    """A reservation and all that came of it. `overage` is what was paid of its cost beyond what was held or charged."""

    scopes: list[Scope]
    amount: Decimal
    day: str
    month: str
    expires_at: datetime
    content: object
    state: str = "HELD"
    charged: Decimal = ZERO
    committed: Decimal | None = None
    priority: str = "NORMAL"
    payments: list[Payment] = field(default_factory=list)
    overage: Payment = field(default_factory=Payment)

    @property
    def paid_by(self) -> str:
        """The only override that pays for it; one that has let nothing through yet makes room for another."""
        return self.payments[-1].payer if self.payments else ""

    @property
    def cost(self) -> Decimal:
        return self.charged if self.committed is None else self.committed

    @property
    def given_back(self) -> Decimal:
        """How much of it nobody needs any more."""
        if self.state == "RELEASED" or (self.state == "EXPIRED" and not self.charged):
            return self.amount
        return ZERO if self.committed is None else max(ZERO, self.amount - self.committed)

    @property
    def paid(self) -> Decimal:
        """What its override is booked for it: what comes back comes off that first."""
        held = sum((payment.amount for payment in self.payments), ZERO)
        return max(ZERO, held - self.given_back) + self.overage.amount

    def part(self, budget: Budget) -> Decimal:
        """Return what its override is booked for beyond one cap."""
        held = sum((payment.parts.get(budget, ZERO) for payment in self.payments), ZERO)
        return max(ZERO, held - self.given_back) + self.overage.parts.get(budget, ZERO)

    def period(self, window: str) -> str:
        return {"DAY": self.day, "MONTH": self.month, "TOTAL": "total"}[window]


@dataclass(kw_only=True)
class Cap:
    """A budget's terms from some period on."""

    since: str
    cap: Decimal
    enforcement: str


@dataclass(kw_only=True)
class Override:
    """A permission to spend past caps. Its target is a scope, or the id of a reservation."""

    override_id: str
    target: Scope | str
    max_amount: Decimal
    expires_at: datetime
    is_on: bool = True

    def is_in_force(self, now: datetime) -> bool:
        return self.is_on and now < self.expires_at

    def rank(self) -> tuple[int, datetime, str]:
        """Return what the least of pays: the narrowest, the first to end."""
        kinds = ["RUN", "AGENT", "CAMPAIGN", "DEPARTMENT", "ORGANIZATION"]
        return (
            (0 if isinstance(self.target, str) else 1 + kinds.index(self.target[0])),
            self.expires_at,
            self.override_id,
        )
