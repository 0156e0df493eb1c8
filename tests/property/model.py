"""What should the ledger do? The rules once more, as plainly as they can be said: lists, and sums over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from zoneinfo import ZoneInfo

from . import costs
from .entries import ZERO, Budget, Cap, Excess, Hold, Override, Payment, Scope

WHOLE = 100
NANO = Decimal("0.000000001")


@dataclass(kw_only=True)
class Books:
    """One organization."""

    zone: str
    charges_expired: bool
    frozen: dict[Budget, bool] = field(default_factory=dict)
    floors: dict[Budget, dict[str, int]] = field(default_factory=dict)
    caps: dict[Budget, list[Cap]] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    overrides: dict[str, Override] = field(default_factory=dict)
    excesses: list[Excess] = field(default_factory=list)

    def periods(self, now: datetime) -> dict[str, str]:
        day = str(now.astimezone(ZoneInfo(self.zone)).date())
        return {"DAY": day, "MONTH": day[:7], "TOTAL": "total"}

    def cap_in(self, scope: Scope, window: str, period: str) -> Cap | None:
        """Return the terms that stood in a period: those set last in it or before."""
        stood = [cap for cap in self.caps.get((scope, window), []) if cap.since <= period]
        return stood[-1] if stood else None

    def sums(self, scope: Scope, window: str, period: str) -> tuple[Decimal, Decimal]:
        """Return (reserved, spent), summed over every hold there ever was."""
        within = self.within(scope, window, period)
        reserved = sum((hold.amount for hold in within if hold.state == "HELD"), ZERO)
        return reserved, sum((hold.cost for hold in within), ZERO)

    def above(self, budget: Budget, period: str, cap: Decimal) -> Decimal:
        """Return how far a period stands above a cap and the excesses that it has; below zero is room."""
        excesses = (e.amount for e in self.excesses if (e.budget, e.period) == (budget, period))
        return sum(self.sums(*budget, period), ZERO) - cap - sum(excesses, ZERO)

    def overridden(self, scope: Scope, window: str, period: str) -> Decimal:
        """Return what overrides have paid beyond a cap."""
        return sum((hold.part((scope, window)) for hold in self.within(scope, window, period)), ZERO)

    def within(self, scope: Scope, window: str, period: str) -> list[Hold]:
        return [hold for hold in self.holds.values() if scope in hold.scopes and hold.period(window) == period]

    def booked(self, override_id: str) -> tuple[Decimal, Decimal]:
        """Return what an override is booked for open holds, and what it has cost."""
        used = [hold for hold in self.holds.values() if hold.paid_by == override_id]
        reserved = sum((hold.paid for hold in used if hold.state == "HELD"), ZERO)
        return reserved, sum((hold.paid for hold in used if hold.state != "HELD"), ZERO)

    def left(self, override: Override) -> Decimal:
        """Return what an override can still pay."""
        return override.max_amount - sum(self.booked(override.override_id))

    def verdict(
        self, scopes: list[Scope], periods: dict[str, str], amount: Decimal, priority: str
    ) -> tuple[str, Payment]:
        """Return ADMITTED or the reason of the denial, and what an override would have to pay."""
        found, payment = set(), Payment()
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
            share = terms.cap * self.floors[scope, window].get(priority, WHOLE) / WHOLE
            limit = share.quantize(NANO, rounding=ROUND_DOWN)
            if terms.enforcement == "ENFORCE" and spent + reserved + amount > limit:
                found.add("OUT_OF_BUDGET" if spent + amount > limit else "HEADROOM_HELD")
                payment.amount = max(payment.amount, min(amount, spent + reserved + amount - limit))
                payment.parts[scope, window] = max(ZERO, min(amount, spent + reserved + amount - terms.cap))
        order = ["BUDGET_FROZEN", "OUT_OF_BUDGET", "HEADROOM_HELD"]
        return next((reason for reason in order if reason in found), "ADMITTED"), payment

    def payer(self, reservation_id: str, scopes: list[Scope], needed: Decimal, named: str, now: datetime) -> str:
        """Return the override that pays for a call, or nothing."""
        fit = [
            override
            for override in self.overrides.values()
            if override.is_in_force(now)
            and named in {"", override.override_id}
            and (override.target == reservation_id or override.target in scopes)
            and needed <= self.left(override) > ZERO
        ]
        return min(fit, key=Override.rank).override_id if fit else ""

    def admit(
        self,
        reservation_id: str,
        scopes: list[Scope],
        amount: Decimal,
        now: datetime,
        *,
        periods: dict[str, str],
        priority: str,
        named: str,
    ) -> tuple[str, list[Payment]]:
        """Return the verdict, and what an override pays where the call needs one."""
        verdict, payment = self.verdict(scopes, periods, amount, priority)
        if verdict in {"OUT_OF_BUDGET", "HEADROOM_HELD"}:
            payment.payer = self.payer(reservation_id, scopes, payment.amount, named, now)
        return ("ADMITTED", [payment]) if payment.payer else (verdict, [])

    def expire(self, hold: Hold, now: datetime) -> None:
        if hold.state == "HELD" and hold.expires_at <= now:
            hold.state = "EXPIRED"
            hold.charged = hold.amount if self.charges_expired else ZERO

    def reserve(
        self,
        reservation_id: str,
        scopes: list[Scope],
        amount: Decimal,
        ttl: timedelta,
        now: datetime,
        *,
        priority: str = "NORMAL",
        named: str = "",
    ) -> str:
        content = (scopes, amount, ttl, priority, named)
        if known := self.holds.get(reservation_id):
            if known.content != content:
                return "ReservationMismatch"
            self.expire(known, now)
            return "ADMITTED"
        if named and named not in self.overrides:
            return "OverrideNotFound"
        periods = self.periods(now)
        verdict, payments = self.admit(
            reservation_id, scopes, amount, now, periods=periods, priority=priority, named=named
        )
        if verdict != "ADMITTED":
            return verdict
        self.holds[reservation_id] = Hold(
            scopes=scopes,
            amount=amount,
            day=periods["DAY"],
            month=periods["MONTH"],
            expires_at=now + ttl,
            content=content,
            priority=priority,
            payments=payments,
        )
        return "ADMITTED"

    def commit(self, reservation_id: str, cost: Decimal, now: datetime) -> str:
        hold = self.holds.get(reservation_id)
        if hold is None:
            return "ReservationNotFound"
        self.expire(hold, now)
        if hold.committed is not None:
            return "COMMITTED" if hold.committed == cost else "AlreadyCommitted"
        costs.record(self, reservation_id, cost, now)
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
            if self.is_past(hold, now):
                return "PeriodOver"
            verdict, payments = self.admit(
                reservation_id,
                hold.scopes,
                amount - hold.amount,
                now,
                periods=periods,
                priority=hold.priority,
                named=hold.paid_by if hold.paid else "",
            )
            if verdict != "ADMITTED":
                return verdict
            hold.payments += payments
        hold.amount = amount
        if ttl is not None:
            hold.expires_at = max(hold.expires_at, now + ttl)
        return "ADMITTED"

    def is_past(self, hold: Hold, now: datetime) -> bool:
        """Tell whether one of its budgets is in another period by now."""
        return any(
            scope in hold.scopes
            and self.cap_in(scope, window, hold.period(window)) is not None
            and hold.period(window) != self.periods(now)[window]
            for scope, window in self.caps
        )

    def set_cap(
        self,
        scope: Scope,
        window: str,
        cap: Decimal,
        enforcement: str,
        now: datetime,
        *,
        frozen: bool,
        floors: dict[str, int] | None = None,
    ) -> str:
        asked, kept = floors or {}, self.floors.get((scope, window), {})
        normal = asked.get("NORMAL", kept.get("NORMAL", WHOLE))
        batch = asked.get("BATCH", min(normal, kept.get("BATCH", WHOLE)))
        if batch > normal:
            return "InvalidField"
        costs.recap(self, (scope, window), Cap(since=self.periods(now)[window], cap=cap, enforcement=enforcement))
        self.frozen[scope, window] = frozen
        self.floors[scope, window] = {"NORMAL": normal, "BATCH": batch}
        return "SET"
