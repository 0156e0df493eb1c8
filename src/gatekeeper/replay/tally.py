"""What has come of the calls so far?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from gatekeeper_client import GatekeeperError, from_money
from gatekeeper_client.v1.gatekeeper_service_pb2 import CommitResponse
from gatekeeper_client.v1.reservation_pb2 import Denial, DenialReason, Reservation

from .latencies import Latencies

ZERO = Decimal(0)


@dataclass(slots=True, kw_only=True)
class CampaignTally:
    """What has come of one campaign's calls."""

    calls: int = 0
    admitted: int = 0
    denied: int = 0
    spent: Decimal = ZERO


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts and exact sums of a replay.

    `open` has what is held by reservations that are not known to have ended, by their ids: those of calls without an
    end, and those that an error left as they were; None where not even the Reserve had an answer. `since` is when the
    first hold was made, by the database's clock, and `expired_by` when the last of the open ones is over, by this
    process's monotonic clock.
    """

    calls: int = 0
    skipped: int = 0
    admitted: int = 0
    committed: int = 0
    late: int = 0
    released: int = 0
    left_open: int = 0
    expired: int = 0
    denied: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    spent: Decimal = ZERO
    overage: Decimal = ZERO
    currency: str = ""
    reserving: Latencies = field(default_factory=Latencies)
    committing: Latencies = field(default_factory=Latencies)
    lag_max_s: float = 0.0
    duration_s: float = 0.0
    interrupted: bool = False
    open: dict[str, Decimal | None] = field(default_factory=dict)
    since: datetime | None = None
    expired_by: float = 0.0
    campaigns: dict[str, CampaignTally] = field(default_factory=dict)

    @property
    def held(self) -> list[Decimal]:
        """What each open hold of this replay still holds, as far as is known."""
        return [amount for amount in self.open.values() if amount is not None]

    @property
    def unknown(self) -> int:
        """How many reserves had no answer, and may hold money."""
        return len(self.open) - len(self.held)

    def begin(self, campaign: str) -> None:
        """Count a call that is sent."""
        self.calls += 1
        self._of(campaign).calls += 1

    def deny(self, campaign: str, denial: Denial) -> None:
        """Count a no."""
        self.denied[DenialReason.Name(denial.reason).removeprefix("DENIAL_REASON_")] += 1
        self._of(campaign).denied += 1

    def admit(self, campaign: str, reservation: Reservation) -> None:
        """Count a yes."""
        self.admitted += 1
        self.currency = reservation.amount.currency_code
        self._of(campaign).admitted += 1
        if self.since is None:
            self.since = reservation.create_time.ToDatetime(UTC)

    def leave_open(self, reservation_id: str, amount: Decimal | None, expired_by: float) -> None:
        """Remember a hold that nobody will settle, as far as is known."""
        self.open[reservation_id] = amount
        self.expired_by = max(self.expired_by, expired_by)

    def commit(self, campaign: str, response: CommitResponse) -> None:
        """Add what a call has cost."""
        cost = from_money(response.execution.cost)
        self.committed += 1
        self.late += response.late
        self.spent += cost
        self.overage += from_money(response.overage_amount)
        self._of(campaign).spent += cost

    def fail(self, step: str, error: GatekeeperError) -> None:
        """Count a call that got no verdict."""
        self.failed[f"{step} {error.reason or error.code.name}"] += 1

    def _of(self, campaign: str) -> CampaignTally:
        tally = self.campaigns.get(campaign)
        if tally is None:
            tally = self.campaigns[campaign] = CampaignTally()
        return tally
