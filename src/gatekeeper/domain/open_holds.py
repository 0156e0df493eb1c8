"""How many holds may be open, and how large and long may one be?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from . import errors
from .access import Caller
from .budget import Balance, Enforcement
from .money import plain

EVERYBODY = ""
WHOLE = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLimits:
    """What bounds holds; see the settings of the same names."""

    open_max: int = 100_000
    open_per_caller_max: int = 20_000
    share_percent_max: Decimal = WHOLE
    life_max: timedelta = timedelta(days=7)


class OpenHolds:
    """The count of open holds: of each caller by its id, and of everybody."""

    def __init__(self, counts: Mapping[str, int], limits: HoldLimits) -> None:
        """Take the counts as they were loaded; a caller that is not there has none."""
        self.changed: dict[str, int] = {}
        self._counts = dict(counts)
        self._limits = limits

    def demand_room(self, caller: Caller) -> None:
        """Raise `TooManyHolds` when one more is one too many."""
        if caller.caller_id and self._count(caller.caller_id) >= self._limits.open_per_caller_max:
            raise errors.TooManyHolds(whose=f"Caller {caller.name!r}", most=str(self._limits.open_per_caller_max))
        if self._count(EVERYBODY) >= self._limits.open_max:
            raise errors.TooManyHolds(whose="The organization", most=str(self._limits.open_max))

    def demand_size(self, amount: Decimal, balances: Sequence[Balance], currency: str) -> None:
        """Raise `HoldTooLarge` when one hold would take more than its share of an enforced budget."""
        percent = self._limits.share_percent_max
        if percent == WHOLE:
            return
        for balance in balances:
            most = balance.cap * percent / WHOLE
            if balance.enforcement is Enforcement.ENFORCE and amount > most:
                raise errors.HoldTooLarge(
                    amount=f"{plain(amount)} {currency}",
                    percent=plain(percent),
                    budget=f"{balance.key.scope.kind.lower()}'s budget ({balance.key.window.lower()})",
                    most=f"{plain(most)} {currency}",
                )

    def demand_life(self, reservation_id: str, created_at: datetime, expires_at: datetime) -> None:
        """Raise `HoldTooLong` when a hold would be open for longer than a hold may."""
        latest = created_at + self._limits.life_max
        if expires_at > latest:
            raise errors.HoldTooLong(reservation_id=reservation_id, latest=latest.isoformat(timespec="seconds"))

    def add(self, caller_id: str, more: int) -> None:
        """Count a hold that opens (1) or ends (-1).

        A count that is too low must not keep a hold from ending: it stays at zero, and verification tells of it.
        """
        for counted in {caller_id, EVERYBODY}:
            self._counts[counted] = self.changed[counted] = max(self._count(counted) + more, 0)

    def _count(self, caller_id: str) -> int:
        return self._counts.get(caller_id, 0)
