"""What should the ledger do? The rules once more, as plainly as they can be said: lists, and sums over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

ZERO = Decimal(0)
Scope = tuple[str, str]


@dataclass(kw_only=True)
class Hold:
    """A reservation and all that came of it."""

    scopes: list[Scope]
    amount: Decimal
    day: str
    month: str
    expires_at: datetime
    content: object
    state: str = "HELD"
    charged: Decimal = ZERO
    committed: Decimal | None = None

    def period(self, window: str) -> str:
        return {"DAY": self.day, "MONTH": self.month, "TOTAL": "total"}[window]


@dataclass(kw_only=True)
class Cap:
    """A budget's terms from some period on."""

    since: str
    cap: Decimal
    enforcement: str


@dataclass(kw_only=True)
class Books:
    """One organization."""

    zone: str
    charges_expired: bool
    frozen: dict[tuple[Scope, str], bool] = field(default_factory=dict)
    caps: dict[tuple[Scope, str], list[Cap]] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)

    def periods(self, now: datetime) -> dict[str, str]:
        day = str(now.astimezone(ZoneInfo(self.zone)).date())
        return {"DAY": day, "MONTH": day[:7], "TOTAL": "total"}

    def cap_in(self, scope: Scope, window: str, period: str) -> Cap | None:
        """Return the terms that stood in a period: those set last in it or before."""
        stood = [cap for cap in self.caps.get((scope, window), []) if cap.since <= period]
        return stood[-1] if stood else None

    def sums(self, scope: Scope, window: str, period: str) -> tuple[Decimal, Decimal]:
        """Return (reserved, spent), summed over every hold there ever was."""
        within = [hold for hold in self.holds.values() if scope in hold.scopes and hold.period(window) == period]
        reserved = sum((hold.amount for hold in within if hold.state == "HELD"), ZERO)
        spent = sum((hold.charged if hold.committed is None else hold.committed for hold in within), ZERO)
        return reserved, spent

    def verdict(self, scopes: list[Scope], periods: dict[str, str], amount: Decimal) -> str:
        """Return ADMITTED or the reason of the denial."""
        found = set()
        for scope, window in self.caps:
            if scope not in scopes:
                continue
            period = periods[window]
            terms = self.cap_in(scope, window, period)
            if terms is None:
                continue
            if self.frozen[scope, window]:
                found.add("BUDGET_FROZEN")
            reserved, spent = self.sums(scope, window, period)
            if terms.enforcement == "ENFORCE" and spent + reserved + amount > terms.cap:
                found.add("OUT_OF_BUDGET" if spent + amount > terms.cap else "HEADROOM_HELD")
        order = ["BUDGET_FROZEN", "OUT_OF_BUDGET", "HEADROOM_HELD"]
        return next((reason for reason in order if reason in found), "ADMITTED")

    def expire(self, hold: Hold, now: datetime) -> None:
        if hold.state == "HELD" and hold.expires_at <= now:
            hold.state = "EXPIRED"
            hold.charged = hold.amount if self.charges_expired else ZERO

    def reserve(self, reservation_id: str, scopes: list[Scope], amount: Decimal, ttl: timedelta, now: datetime) -> str:
        content = (scopes, amount, ttl)
        if known := self.holds.get(reservation_id):
            if known.content != content:
                return "ReservationMismatch"
            self.expire(known, now)
            return "ADMITTED"
        periods = self.periods(now)
        verdict = self.verdict(scopes, periods, amount)
        if verdict == "ADMITTED":
            self.holds[reservation_id] = Hold(
                scopes=scopes,
                amount=amount,
                day=periods["DAY"],
                month=periods["MONTH"],
                expires_at=now + ttl,
                content=content,
            )
        return verdict

    def commit(self, reservation_id: str, cost: Decimal, now: datetime) -> str:
        hold = self.holds.get(reservation_id)
        if hold is None:
            return "ReservationNotFound"
        self.expire(hold, now)
        if hold.committed is not None:
            return "COMMITTED" if hold.committed == cost else "AlreadyCommitted"
        hold.committed = cost
        if hold.state == "HELD":
            hold.state = "COMMITTED"
        return "COMMITTED"

    def release(self, reservation_id: str, now: datetime) -> str:
        hold = self.holds.get(reservation_id)
        if hold is None:
            return "ReservationNotFound"
        self.expire(hold, now)
        if hold.committed is not None:
            return "AlreadyCommitted"
        if hold.state == "EXPIRED":
            return "ReservationExpired"
        hold.state = "RELEASED"
        return "RELEASED"

    def extend(self, reservation_id: str, amount: Decimal | None, ttl: timedelta | None, now: datetime) -> str:
        hold = self.holds.get(reservation_id)
        if hold is None:
            return "ReservationNotFound"
        self.expire(hold, now)
        if hold.committed is not None:
            return "AlreadyCommitted"
        if hold.state != "HELD":
            return {"RELEASED": "AlreadyReleased", "EXPIRED": "ReservationExpired"}[hold.state]
        amount = hold.amount if amount is None else amount
        if amount < hold.amount:
            return "AmountBelowHeld"
        if amount > hold.amount:
            periods = {window: hold.period(window) for window in ("DAY", "MONTH", "TOTAL")}
            for scope, window in self.caps:
                stood = scope in hold.scopes and self.cap_in(scope, window, periods[window]) is not None
                if stood and periods[window] != self.periods(now)[window]:
                    return "PeriodOver"
            verdict = self.verdict(hold.scopes, periods, amount - hold.amount)
            if verdict != "ADMITTED":
                return verdict
        hold.amount = amount
        if ttl is not None:
            hold.expires_at = max(hold.expires_at, now + ttl)
        return "ADMITTED"

    def set_cap(
        self, scope: Scope, window: str, cap: Decimal, enforcement: str, now: datetime, *, frozen: bool
    ) -> None:
        self.caps.setdefault((scope, window), []).append(
            Cap(since=self.periods(now)[window], cap=cap, enforcement=enforcement)
        )
        self.frozen[scope, window] = frozen
