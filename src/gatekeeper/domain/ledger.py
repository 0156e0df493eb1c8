"""What do the operations do to the books?

A `Ledger` is the part of one organization's books that a batch of commands touches, loaded under the organization's
lock. Commands are applied one after another, in memory; what has to be written afterwards is in `changes`. A command
that raises has changed nothing, but that a hold whose time is over has expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from . import billing, errors
from .admission import Admitted, Denied, decide, explain
from .billing import Cost
from .budget import Balance, BalanceKey, Budget, Enforcement, ExcessKind, Scope, ScopeKind
from .commands import Command, Commit, Expire, Extend, Money, Release, Reserve, Tokens
from .money import ZERO, plain
from .open_holds import OpenHolds
from .organization import Organization
from .periods import Periods
from .prices import PriceList
from .release import foreign_release
from .reservation import Attribution, Execution, ExecutionKind, ExpiryPolicy, Outcome, Reservation, ReservationState
from .verdicts import Changes, Committed, Denial, Excess, Held, Verdict

KNOWN_SCOPE_KINDS = frozenset({ScopeKind.DEPARTMENT, ScopeKind.CAMPAIGN, ScopeKind.AGENT})
ANY_CALLER = "caller"
BY_EXPIRY = "expiry"


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
    ) -> None:
        """Take what was loaded. `balances` may lack those of the current periods: they stand at zero then."""
        self.organization = organization
        self.now = now
        self.periods = periods
        self.changes = Changes(open_holds=open_holds.changed)
        self._open_holds = open_holds
        self._prices = prices
        self._owner = owner
        self._balances = dict(balances)
        self._reservations = dict(reservations)
        self._budgets: dict[Scope, list[Budget]] = {}
        for budget in budgets:
            self._budgets.setdefault(budget.scope, []).append(budget)

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
            return Held(known, self._asked(known.attribution, known.periods))
        self._open_holds.demand_room(command.actor.caller)
        if self.organization.known_scopes:
            self._demand_known(attribution)
        model = command.estimate.model if isinstance(command.estimate, Tokens) else ""
        amount, price_version = self._estimate(command.estimate, attribution.agent_type)
        balances = self._asked(attribution, self.periods)
        verdict = decide(amount, balances)
        if isinstance(verdict, Denied):
            denial = self._denial(
                command,
                attribution=attribution,
                model=model,
                denied=verdict,
                requested=amount,
                balances=balances,
            )
            if not command.validate_only:
                self.changes.denials.append(denial)
            return denial
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
            would_deny=verdict.would_deny,
            labels=command.labels,
        )
        if command.validate_only:
            return Held(reservation, balances)
        self._open_holds.add(reservation.caller, 1)
        self._reservations[command.reservation_id] = self.changes.made[command.reservation_id] = reservation
        return Held(reservation, self._hold(balances, amount, verdict))

    def commit(self, command: Commit) -> Committed:
        """Record the real cost, whatever the state of the hold, but once."""
        held = self._current(command)
        if held.committed is not None and command.digest == held.commit_digest:
            return Committed(held, None, self._asked(held.attribution, held.periods))
        self._demand_currency(command.revenue_currency)
        cost = self._cost(command.cost, held)
        if held.committed is not None:
            if cost.amount == held.committed:
                return Committed(held, None, self._asked(held.attribution, held.periods))
            raise errors.AlreadyCommitted(
                reservation_id=held.reservation_id, committed=f"{plain(held.committed)} {self.organization.currency}"
            )
        late = held.state is not ReservationState.HELD
        freed = ZERO if late else held.amount
        balances = self._settle(
            held, cost.amount - held.charged, freed, ExcessKind.LATE_COMMIT if late else ExcessKind.OVERAGE
        )
        if held.charged:
            self._bill(held, ExecutionKind.REVERSAL, -held.charged)
        committed = held._replace(committed=cost.amount, commit_digest=command.digest, late=late)
        if not late:
            committed = self._ended(committed, ReservationState.COMMITTED, _ender(command))
        execution = billing.settlement(committed, command, cost, self.now)
        self.changes.executions.append(execution)
        return Committed(self._change(committed), execution, balances)

    def release(self, command: Release) -> Held:
        """Give the whole hold back."""
        held = self._current(command)
        if held.committed is None and held.state is ReservationState.RELEASED:
            return Held(held, self._asked(held.attribution, held.periods))
        self._demand_held(held)
        if command.actor.caller.caller_id != held.caller:
            self.changes.audit_events.append(foreign_release(command, held, self.now))
        return self._end(held, ReservationState.RELEASED, _ender(command), ZERO)

    def extend(self, command: Extend) -> Held | Denial:
        """Prolong the hold, and raise it by the rules of Reserve."""
        held = self._current(command)
        self._demand_held(held)
        amount = held.amount if command.amount is None else self._in_currency(command.amount)
        if amount < held.amount:
            raise errors.AmountBelowHeld(
                reservation_id=held.reservation_id, held=f"{plain(held.amount)} {self.organization.currency}"
            )
        until = held.expires_at if command.ttl is None else max(held.expires_at, self.now + command.ttl)
        if until > held.expires_at:
            self._open_holds.demand_life(held.reservation_id, held.created_at, until)
        balances = self._asked(held.attribution, held.periods)
        more, would_deny = amount - held.amount, held.would_deny
        if more:
            self._demand_current(held, balances)
            verdict = decide(more, balances)
            if isinstance(verdict, Denied):
                denial = self._denial(
                    command,
                    attribution=held.attribution,
                    model=held.model,
                    denied=verdict,
                    requested=more,
                    balances=balances,
                )
                self.changes.denials.append(denial)
                return denial
            self._open_holds.demand_size(amount, balances, self.organization.currency)
            balances = self._hold(balances, more, verdict)
            would_deny = would_deny or verdict.would_deny
        extended = held._replace(amount=amount, expires_at=until, would_deny=would_deny)
        return Held(self._change(extended), balances)

    def expire(self, command: Expire) -> Held:
        """End the hold if its time is over, as the organization's policy says."""
        held = self._current(command)
        return Held(held, self._asked(held.attribution, held.periods))

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
            if scope.kind in KNOWN_SCOPE_KINDS and scope not in self._budgets:
                raise errors.ScopeNotFound(
                    organization=self.organization.organization, kind=scope.kind.lower(), id=scope.id
                )

    def _asked(self, attribution: Attribution, periods: Periods) -> list[Balance]:
        """Return the balances that a call falls under in `periods`.

        In a current period a budget always has a balance, at zero before its first call. In a past period it has one
        only if it stood then: a cap does not reach back.
        """
        asked = []
        for scope in attribution.scopes():
            for budget in self._budgets.get(scope, ()):
                key = BalanceKey(scope, budget.window, periods.of(budget.window))
                balance = self._balances.get(key)
                if balance is None and key.period == self.periods.of(budget.window):
                    balance = Balance(key, budget.cap, budget.enforcement, budget.frozen)
                if balance is not None:
                    asked.append(balance)
        return asked

    def _hold(self, balances: Sequence[Balance], amount: Decimal, verdict: Admitted) -> list[Balance]:
        strained = {balance.key for balance in verdict.strained}
        return [
            self._put(
                balance._replace(
                    reserved=balance.reserved + amount,
                    would_deny_count=balance.would_deny_count + (balance.key in strained),
                )
            )
            for balance in balances
        ]

    def _bill(self, held: Reservation, kind: ExecutionKind, cost: Decimal) -> None:
        self.changes.executions.append(billing.entry(held, kind, cost, Outcome.UNKNOWN, self.now))

    def _settle(self, held: Reservation, cost: Decimal, freed: Decimal, kind: ExcessKind) -> list[Balance]:
        """Move `cost` to spent and take `freed` from reserved, recording what goes beyond a cap."""
        settled = []
        for balance in self._asked(held.attribution, held.periods):
            after = balance._replace(spent=balance.spent + cost, reserved=balance.reserved - freed)
            beyond = after.used - after.cap - after.excess
            if beyond > ZERO and after.enforcement is Enforcement.ENFORCE:
                self.changes.excesses.append(Excess(after.key, kind, beyond, held.reservation_id))
                after = after._replace(excess=after.excess + beyond)
            settled.append(self._put(after))
        return settled

    def _end(self, held: Reservation, state: ReservationState, ended_by: str, charge: Decimal) -> Held:
        balances = self._settle(held, charge, held.amount, ExcessKind.OVERAGE)
        return Held(self._change(self._ended(held._replace(charged=charge), state, ended_by)), balances)

    def _ended(self, held: Reservation, state: ReservationState, ended_by: str) -> Reservation:
        self._open_holds.add(held.caller, -1)
        return held._replace(state=state, ended_at=self.now, ended_by=f"{ended_by}@{self._owner}")

    def _put(self, balance: Balance) -> Balance:
        self._balances[balance.key] = self.changes.balances[balance.key] = balance
        return balance

    def _change(self, reservation: Reservation) -> Reservation:
        reservation_id = reservation.reservation_id
        written = self.changes.made if reservation_id in self.changes.made else self.changes.changed
        self._reservations[reservation_id] = written[reservation_id] = reservation
        return reservation

    def _in_currency(self, money: Money) -> Decimal:
        self._demand_currency(money.currency)
        return money.amount

    def _demand_currency(self, currency: str) -> None:
        if currency and currency != self.organization.currency:
            raise errors.CurrencyMismatch(
                organization=self.organization.organization, currency=self.organization.currency, given=currency
            )

    def _estimate(self, estimate: Money | Tokens, agent_type: str) -> tuple[Decimal | None, str]:
        if isinstance(estimate, Money):
            return self._in_currency(estimate), ""
        priced = self._prices.estimate(model=estimate.model, agent_type=agent_type, tokens=estimate.counts, at=self.now)
        return (None, "") if priced is None else (priced.amount, priced.price_version)

    def _cost(self, cost: Money | Tokens, held: Reservation) -> Cost:
        if isinstance(cost, Money):
            return Cost(self._in_currency(cost), held.model)
        model = cost.model or held.model
        priced = self._prices.settle(
            model=model, agent_type=held.attribution.agent_type, tokens=cost.counts, at=self.now
        )
        if priced is None:
            raise errors.UnpricedModel(model=model)
        return Cost(priced.amount, model, priced.price_version)

    def _denial(
        self,
        command: Reserve | Extend,
        *,
        attribution: Attribution,
        model: str,
        denied: Denied,
        requested: Decimal | None,
        balances: Sequence[Balance],
    ) -> Denial:
        return Denial(
            reservation_id=command.reservation_id,
            attribution=attribution,
            model=model,
            denied=denied,
            requested=ZERO if requested is None else requested,
            message=explain(denied, requested, model, self.organization.currency),
            balances=balances,
            denied_at=self.now,
            actor=command.actor,
        )


def _ender(command: Commit | Release) -> str:
    """Name who ends a hold: the id of a caller that is known."""
    return command.actor.caller.caller_id or ANY_CALLER
