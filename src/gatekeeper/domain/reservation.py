"""What is a reservation, and what is left of it when it has ended?

Reservations and executions are named tuples, not dataclasses: the hot path makes some of each for every call, and a
frozen dataclass of this size takes four times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from .budget import ORGANIZATION, Priority, Scope, ScopeKind
from .money import ZERO
from .override_use import OverrideUse
from .periods import Periods

NO_LABELS: Mapping[str, str] = MappingProxyType({})


class ReservationState(StrEnum):
    """Where a reservation is in its life. It ends once."""

    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


class ExpiryPolicy(StrEnum):
    """What becomes of the money of a hold that expires: it is free again, or it counts as spent."""

    RELEASE = "RELEASE"
    CHARGE = "CHARGE"


class Outcome(StrEnum):
    """How the call that the money was for went. UNKNOWN: nobody said, its hold expired and was charged."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


class ExecutionKind(StrEnum):
    """What an entry of the billing log stands for."""

    COMMIT = "COMMIT"
    EXPIRY_CHARGE = "EXPIRY_CHARGE"
    REVERSAL = "REVERSAL"


class Attribution(NamedTuple):
    """What a call is for. Empty: not said. `agent_type` and `task` carry no budget."""

    department: str = ""
    campaign: str = ""
    agent: str = ""
    run: str = ""
    agent_type: str = ""
    task: str = ""

    def scopes(self) -> list[Scope]:
        """Return every scope that the call falls under, the organization first."""
        found = [ORGANIZATION]
        if self.department:
            found.append(Scope(ScopeKind.DEPARTMENT, self.department))
        if self.campaign:
            found.append(Scope(ScopeKind.CAMPAIGN, self.campaign))
        if self.agent:
            found.append(Scope(ScopeKind.AGENT, self.agent))
        if self.run:
            found.append(Scope(ScopeKind.RUN, self.run))
        return found


class Reservation(NamedTuple):
    """A hold on money.

    `caller` is the id of who made it, `owner` names the process that did. `request_digest` tells a retry from another
    request under the same id; `commit_digest` likewise for its commit. `charged` is what its expiry cost under the
    CHARGE policy, `committed` what its commit cost. `override` is what paid for a part of it beyond a cap.
    """

    reservation_id: str
    attribution: Attribution
    model: str
    amount: Decimal
    state: ReservationState
    periods: Periods
    created_at: datetime
    expires_at: datetime
    owner: str
    caller: str
    request_digest: bytes
    price_version: str = ""
    would_deny: bool = False
    labels: Mapping[str, str] = NO_LABELS
    ended_at: datetime | None = None
    ended_by: str = ""
    charged: Decimal = ZERO
    committed: Decimal | None = None
    commit_digest: bytes = b""
    late: bool = False
    priority: Priority = Priority.NORMAL
    override: OverrideUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What came of a call, for reports. Scores from 0 to 100."""

    quality_score: float | None = None
    impact_score: float | None = None
    conversions: int = 0
    revenue: Decimal = ZERO
    latency: timedelta | None = None


NO_METRICS = Metrics()


class Execution(NamedTuple):
    """One entry of the billing log. It is written once and never changed.

    `override_amount` is the part of the cost that the override paid for; below zero in a reversal.
    """

    reservation_id: str
    kind: ExecutionKind
    attribution: Attribution
    periods: Periods
    committed_at: datetime
    cost: Decimal
    reserved_amount: Decimal
    outcome: Outcome
    model: str = ""
    price_version: str = ""
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    metrics: Metrics = NO_METRICS
    labels: Mapping[str, str] = NO_LABELS
    late: bool = False
    override_id: str = ""
    override_amount: Decimal = ZERO
