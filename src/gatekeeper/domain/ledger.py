"""What do the operations do to the books?

A `Ledger` is the part of one organization's books that a batch of commands touches, loaded under the organization's
lock. Commands are applied one after another, in memory; what has to be written afterwards is in `changes`. A command
that raises has changed nothing, but that a hold whose time is over has expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from . import alerts, billing, errors
from .admission import Admitted, Denied, decide, explain, would_deny
from .balances import Balances
from .budget import Balance, BalanceKey, Budget, ExcessKind, ScopeKind
from .commands import Command, Commit, Expire, Extend, Release, Reserve, Tokens
from .costing import Costing
from .money import ZERO, plain
from .open_holds import OpenHolds
from .organization import Organization
from .override_use import OverrideUse, Parts
from .overrides import Overrides, Payment, use_event
from .periods import Periods
from .prices import PriceList
from .release import foreign_release
from .reservation import Attribution, Execution, ExecutionKind, ExpiryPolicy, Outcome, Reservation, ReservationState
from .verdicts import Changes, Committed, Denial, Held, Verdict

KNOWN_SCOPE_KINDS = frozenset({ScopeKind.DEPARTMENT, ScopeKind.CAMPAIGN, ScopeKind.AGENT})
ANY_CALLER = "caller"
BY_EXPIRY = "expiry"


class Asked(NamedTuple):
    """What a call asks for, and of which balances. `amount` is None where nobody knows the price."""

    attribution: Attribution
    model: str
    amount: Decimal | None
    balances: Sequence[Balance]


class Ledger:
    """The books of one organization, as far as one batch needs them."""

    def __init__(
        self,
        *,
        organization: Organization,
        now: datetime,
        periods: Periods,
        prices: PriceList,
        owner: str,
        budgets: Iterable[Budget],
        balances: Mapping[BalanceKey, Balance],
        reservations: Mapping[str, Reservation],
        open_holds: OpenHolds,
        overrides: Overrides,
    ) -> None:
        """Take what was loaded. `balances` may lack those of the current periods: they stand at zero then."""
        self.organization = organization
        self.now = now
        self.periods = periods
        self.changes = Changes(open_holds=open_holds.changed, overrides=overrides.changed)
        self._open_holds = open_holds
        self._overrides = overrides
        self._costing = Costing(organization, prices, now)
        self._owner = owner
        self._balances = Balances(budgets, balances, periods, self.changes)
        self._reservations = dict(reservations)

    def apply(self, command: Command) -> Verdict:
        """Apply one command; raise a `GatekeeperError` where there can be no verdict."""
        match command:
            case Reserve():
                return self.reserve(command)
            case Commit():
                return self.commit(command)
            case Release():
                return self.release(command)
            case Extend():
                return self.extend(command)
            case Expire():
                return self.expire(command)

    def reserve(self, command: Reserve) -> Held | Denial:
        """Hold the estimate in every budget of the call, or in none."""
        attribution = command.attribution
        if (known := self._reservations.get(command.reservation_id)) is not None:
            if known.request_digest != command.digest:
                raise errors.ReservationMismatch(reservation_id=command.reservation_id)
            known = self._current(command)
            return Held(known, self._balances.asked(known.attribution, known.periods))
        self._open_holds.demand_room(command.actor.caller)
        if self.organization.known_scopes:
            self._demand_known(attribution)
        if command.override_id and not self._overrides.knows(command.override_id):
            raise errors.OverrideNotFound(override_id=command.override_id)
        model = command.estimate.model if isinstance(command.estimate, Tokens) else ""
        amount, price_version = self._costing.estimate(command.estimate, attribution.agent_type)
        balances = self._balances.asked(attribution, self.periods)
        verdict = decide(amount, balances, command.priority)
        asked = Asked(attribution, model, amount, balances)
        payment = self._payment(verdict, asked, command, command.override_id)
        if isinstance(verdict, Denied) and payment is None:
            return self._deny(command, asked, verdict)
        assert amount is not None
        self._open_holds.demand_size(amount, balances, self.organization.currency)
        self._open_holds.demand_life(command.reservation_id, self.now, self.now + command.ttl)
        reservation = Reservation(
            reservation_id=command.reservation_id,
            attribution=attribution,
            model=model,
            amount=amount,
            state=ReservationState.HELD,
            periods=self.periods,
            created_at=self.now,
            expires_at=self.now + command.ttl,
            owner=self._owner,
            caller=command.actor.caller.caller_id,
            request_digest=command.digest,
            price_version=price_version,
            would_deny=would_deny(verdict),
            labels=command.labels,
            priority=command.priority,
            override=payment and payment.use(),
        )
        if command.validate_only:
            return Held(reservation, balances)
        self._open_holds.add(reservation.caller, 1)
        self._reservations[command.reservation_id] = self.changes.made[command.reservation_id] = reservation
        parts = self._book(payment, reservation, command)
        return Held(reservation, self._balances.hold(balances, amount, verdict, parts))

    def commit(self, command: Commit) -> Committed:
        """Record the real cost, whatever the state of the hold, but once."""
        held = self._current(command)
        if held.committed is not None and command.digest == held.commit_digest:
            return Committed(held, None, self._balances.asked(held.attribution, held.periods))
        self._costing.demand_currency(command.revenue_currency)
        cost = self._costing.cost(command.cost, held)
        if held.committed is not None:
            if cost.amount == held.committed:
                return Committed(held, None, self._balances.asked(held.attribution, held.periods))
            raise errors.AlreadyCommitted(
                reservation_id=held.reservation_id, committed=f"{plain(held.committed)} {self.organization.currency}"
            )
        late = held.state is not ReservationState.HELD
        freed = ZERO if late else held.amount
        kind = ExcessKind.LATE_COMMIT if late else ExcessKind.OVERAGE
        use, balances = self._settle(held, cost.amount - held.charged, freed, kind)
        if held.charged:
            self._bill(held, ExecutionKind.REVERSAL, -held.charged)
        committed = held._replace(committed=cost.amount, commit_digest=command.digest, late=late, override=use)
        if not late:
            committed = self._ended(committed, ReservationState.COMMITTED, _ender(command))
        execution = billing.settlement(committed, command, cost, self.now)
        self.changes.executions.append(execution)
        return Committed(self._change(committed), execution, balances)

    def release(self, command: Release) -> Held:
        """Give the whole hold back."""
        held = self._current(command)
        if held.committed is None and held.state is ReservationState.RELEASED:
            return Held(held, self._balances.asked(held.attribution, held.periods))
        self._demand_held(held)
        if command.actor.caller.caller_id != held.caller:
            self.changes.audit_events.append(foreign_release(command, held, self.now))
        return self._end(held, ReservationState.RELEASED, _ender(command), ZERO)

    def extend(self, command: Extend) -> Held | Denial:
        """Prolong the hold, and raise it by the rules of Reserve."""
        held = self._current(command)
        self._demand_held(held)
        amount = held.amount if command.amount is None else self._costing.amount(command.amount)
        if amount < held.amount:
            raise errors.AmountBelowHeld(
                reservation_id=held.reservation_id, held=f"{plain(held.amount)} {self.organization.currency}"
            )
        until = held.expires_at if command.ttl is None else max(held.expires_at, self.now + command.ttl)
        if until > held.expires_at:
            self._open_holds.demand_life(held.reservation_id, held.created_at, until)
        balances = self._balances.asked(held.attribution, held.periods)
        more, use = amount - held.amount, held.override
        extended = held._replace(amount=amount, expires_at=until)
        if more:
            self._demand_current(held, balances)
            verdict = decide(more, balances, held.priority)
            asked = Asked(held.attribution, held.model, more, balances)
            # One override pays for one hold.
            payment = self._payment(verdict, asked, command, use.override_id if use and use.amount else "")
            if isinstance(verdict, Denied) and payment is None:
                return self._deny(command, asked, verdict)
            self._open_holds.demand_size(amount, balances, self.organization.currency)
            balances = self._balances.hold(balances, more, verdict, self._book(payment, extended, command))
            extended = extended._replace(
                would_deny=held.would_deny or would_deny(verdict), override=payment.use(use) if payment else use
            )
        return Held(self._change(extended), balances)

    def expire(self, command: Expire) -> Held:
        """End the hold if its time is over, as the organization's policy says."""
        held = self._current(command)
        return Held(held, self._balances.asked(held.attribution, held.periods))

    def earliest_expiry(self, key: BalanceKey, known: datetime | None) -> datetime | None:
        """Return when the first open hold of a budget's period expires that has money in it.

        `known` is the earliest of those that this batch has not touched.
        """
        here = (
            held.expires_at
            for held in (*self.changes.made.values(), *self.changes.changed.values())
            if held.state is ReservationState.HELD
            and held.amount
            and key.scope in held.attribution.scopes()
            and held.periods.of(key.window) == key.period
        )
        return min((instant for instant in (known, *here) if instant is not None), default=None)

    def tell(self) -> None:
        """Have the crossings of thresholds told, once no more commands come."""
        for key, balance in self.changes.balances.items():
            if alerts.is_due(balance):
                found, marked = alerts.crossings(balance, self.organization.currency, self.now)
                self.changes.alerts += found
                self.changes.balances[key] = marked

    def execution_of(self, reservation_id: str) -> Execution | None:
        """Return what this batch has recorded for a reservation's commit."""
        return next(
            (
                entry
                for entry in self.changes.executions
                if entry.reservation_id == reservation_id and entry.kind is ExecutionKind.COMMIT
            ),
            None,
        )

    def _current(self, command: Command) -> Reservation:
        """Return a reservation as it is now: one whose time is over has expired, whether or not it was swept.

        To a caller that is for one scope only, those of others do not exist.
        """
        held = self._reservations.get(command.reservation_id)
        if held is None or not command.actor.caller.reaches(held.attribution.scopes()):
            raise errors.ReservationNotFound(reservation_id=command.reservation_id)
        if held.state is not ReservationState.HELD or held.expires_at > self.now:
            return held
        charge = held.amount if self.organization.expiry_policy is ExpiryPolicy.CHARGE else ZERO
        if charge:
            self._bill(held, ExecutionKind.EXPIRY_CHARGE, charge)
        return self._end(held, ReservationState.EXPIRED, BY_EXPIRY, charge).reservation

    def _demand_held(self, held: Reservation) -> None:
        if held.committed is not None:
            committed = f"{plain(held.committed)} {self.organization.currency}"
            raise errors.AlreadyCommitted(reservation_id=held.reservation_id, committed=committed)
        if held.state is ReservationState.RELEASED:
            raise errors.AlreadyReleased(reservation_id=held.reservation_id)
        if held.state is ReservationState.EXPIRED:
            raise errors.ReservationExpired(
                reservation_id=held.reservation_id, expire_time=held.expires_at.isoformat(timespec="seconds")
            )

    def _demand_current(self, held: Reservation, balances: Sequence[Balance]) -> None:
        """Refuse to raise a hold in a period that is over: what is left there is not money of today."""
        for key in (balance.key for balance in balances):
            if key.period != self.periods.of(key.window):
                raise errors.PeriodOver(reservation_id=held.reservation_id, period=key.period)

    def _demand_known(self, attribution: Attribution) -> None:
        for scope in attribution.scopes():
            if scope.kind in KNOWN_SCOPE_KINDS and not self._balances.knows(scope):
                raise errors.ScopeNotFound(
                    organization=self.organization.organization, kind=scope.kind.lower(), id=scope.id
                )

    def _payment(
        self, verdict: Admitted | Denied, asked: Asked, command: Reserve | Extend, override_id: str
    ) -> Payment | None:
        if asked.amount is None or not isinstance(verdict, Denied):
            return None
        return self._overrides.payment(
            verdict,
            asked.attribution,
            asked.amount,
            reservation_id=command.reservation_id,
            caller_id=command.actor.caller.caller_id,
            named=override_id,
        )

    def _book(self, payment: Payment | None, held: Reservation, command: Reserve | Extend) -> Parts:
        """Have an override pay for what the verdict alone would not let through; return the parts beyond the caps."""
        if payment is None:
            return {}
        self._overrides.book(payment)
        self.changes.audit_events.append(use_event(payment, held, command.actor, self.now))
        return payment.parts

    def _bill(self, held: Reservation, kind: ExecutionKind, cost: Decimal) -> None:
        self.changes.executions.append(billing.entry(held, kind, cost, Outcome.UNKNOWN, self.now))

    def _settle(
        self, held: Reservation, cost: Decimal, freed: Decimal, kind: ExcessKind
    ) -> tuple[OverrideUse | None, list[Balance]]:
        """Book that a hold costs so much more, and frees so much, in its override and its budgets.

        Return what its override has paid then: less than was booked where it frees more than it costs, and else as much
        of the rest as it can.
        """
        use, booked, more = None, held.override, cost - freed
        if booked is not None:
            if more > ZERO:
                use = self._overrides.overage(booked, self._balances.beyond(held, more))
            else:
                use = booked.less(held.amount - held.charged - cost)
            self._overrides.settle(booked, use, was_held=held.state is ReservationState.HELD)
        return use, self._balances.settle(held, cost, freed, kind, use)

    def _end(self, held: Reservation, state: ReservationState, ended_by: str, charge: Decimal) -> Held:
        use, balances = self._settle(held, charge, held.amount, ExcessKind.OVERAGE)
        return Held(self._change(self._ended(held._replace(charged=charge, override=use), state, ended_by)), balances)

    def _ended(self, held: Reservation, state: ReservationState, ended_by: str) -> Reservation:
        self._open_holds.add(held.caller, -1)
        return held._replace(state=state, ended_at=self.now, ended_by=f"{ended_by}@{self._owner}")

    def _change(self, reservation: Reservation) -> Reservation:
        reservation_id = reservation.reservation_id
        written = self.changes.made if reservation_id in self.changes.made else self.changes.changed
        self._reservations[reservation_id] = written[reservation_id] = reservation
        return reservation

    def _deny(self, command: Reserve | Extend, asked: Asked, denied: Denied) -> Denial:
        denial = Denial(
            reservation_id=command.reservation_id,
            attribution=asked.attribution,
            model=asked.model,
            denied=denied,
            requested=asked.amount or ZERO,
            message=explain(denied, asked.amount, asked.model, self.organization.currency),
            balances=asked.balances,
            denied_at=self.now,
            actor=command.actor,
        )
        if isinstance(command, Reserve):
            denial.override_request = command.override_request
            if command.validate_only:
                return denial
        self.changes.denials.append(denial)
        return denial


def _ender(command: Commit | Release) -> str:
    """Name who ends a hold: the id of a caller that is known."""
    return command.actor.caller.caller_id or ANY_CALLER
