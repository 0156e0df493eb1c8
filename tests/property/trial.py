"""What is done to books and to the model of them, and what must be true of both after each step?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gatekeeper.domain import errors
from gatekeeper.domain.budget import Balance, BalanceKey, Enforcement, Priority, Scope, ScopeKind
from gatekeeper.domain.caps import SetCap
from gatekeeper.domain.commands import Command, Commit, Expire, Extend, Money, Release, Reserve
from gatekeeper.domain.override_steps import Target
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Attribution, Outcome, ReservationState
from gatekeeper.domain.verdicts import Committed, Denial, Held, Verdict

from . import strategies as draw
from .entries import Override as ModelOverride
from .invariants import (
    every_balance_is_the_sum_of_its_entries,
    every_crossing_is_told_once,
    every_excess_is_what_no_override_has_paid,
    every_override_is_the_sum_of_its_uses,
    spending_never_exceeds_the_cap_and_what_was_granted,
)
from .kept_books import KeptBooks
from .model import Books
from .stored_books import StoredBooks

MINUTE = timedelta(minutes=1)
START = datetime(2026, 11, 29, 22, 0, tzinfo=UTC)
ZERO = Decimal(0)


def words_of(command: Command, verdict: Verdict | errors.GatekeeperError) -> str:
    """Return a verdict in the model's words."""
    match verdict:
        case errors.GatekeeperError():
            return type(verdict).__name__
        case Denial():
            return str(verdict.denied.reason)
        case Committed():
            return "COMMITTED"
        case Held():
            return "RELEASED" if isinstance(command, Release) else "ADMITTED"


def commit_of(reservation_id: str, cost: Decimal) -> Commit:
    """Return the commit of a call that went well."""
    return Commit(
        reservation_id=reservation_id, cost=Money(amount=cost), outcome=Outcome.SUCCEEDED, digest=str(cost).encode()
    )


class Trial:
    """One organization that has overrides, floors and thresholds: its books, and the model's."""

    def __init__(self, books: KeptBooks | StoredBooks, *, charges_expired: bool) -> None:
        """Begin with a monthly budget of 10."""
        self.now = START
        self.asked = 0
        self.requests: dict[str, Reserve] = {}
        self.granted: dict[str, Decimal] = {}
        self.model = Books(zone="UTC", charges_expired=charges_expired)
        self.books = books
        self.set_cap(
            ("ORGANIZATION", ""), "MONTH", Decimal(10), "ENFORCE", frozen=False, floors={}, thresholds=(80, 95, 100)
        )

    def ask(self, command: Command, expected: str) -> Verdict | errors.GatekeeperError:
        """Settle a command alone; its verdict must be the model's."""
        (verdict,) = self.books.settle(self.now, [command])
        assert words_of(command, verdict) == expected
        return verdict

    def known(self, number: int) -> str:
        """Return the id of a reservation, or one that nobody has."""
        return draw.pick(self.model.holds, number)

    def reserve(
        self, *, attribution: Attribution, amount: Decimal, ttl: timedelta, priority: str, number: int | None
    ) -> None:
        self.asked += 1
        asked = [(scope.kind.value, scope.id) for scope in attribution.scopes()]
        command = Reserve(
            reservation_id=f"r{self.asked}",
            attribution=attribution,
            estimate=Money(amount=amount),
            ttl=ttl,
            digest=f"r{self.asked}".encode(),
            priority=Priority(priority),
            override_id="" if number is None else draw.pick(self.granted, number),
        )
        before = dict(self.books.balances)
        expected = self.model.reserve(
            f"r{self.asked}", asked, amount, ttl, self.now, priority=priority, named=command.override_id
        )
        verdict = self.ask(command, expected)
        if isinstance(verdict, Held):
            self.requests[command.reservation_id] = command
            self.check_admission(verdict, command, before)

    def reserve_again(self, number: int, *, other: bool) -> None:
        """Repeat what was admitted: nothing more is booked, also where an override paid that is over since."""
        if not self.requests:
            return
        command = self.requests[draw.pick(self.requests, number)]
        if other:
            self.ask(replace(command, digest=b"other"), "ReservationMismatch")
            return
        before = self.books.reservations[command.reservation_id].override
        self.model.expire(self.model.holds[command.reservation_id], self.now)
        verdict = self.ask(command, "ADMITTED")
        assert isinstance(verdict, Held)
        if verdict.reservation.state is ReservationState.HELD:
            assert verdict.reservation.override == before

    def check_admission(self, held: Held, command: Reserve, before: dict[BalanceKey, Balance]) -> None:
        """Say once more, without the model, what may be admitted, and what an override may do."""
        assert not any(balance.frozen for balance in held.balances)
        enforced = [balance for balance in held.balances if balance.enforcement is Enforcement.ENFORCE]
        reservation = held.reservation
        if (use := reservation.override) is None:
            assert all(balance.used <= balance.limit(command.priority) for balance in enforced)
            return
        assert any(balance.used > balance.limit(command.priority) for balance in enforced)
        override = self.books.overrides[use.override_id]
        assert override.is_in_force(self.now)
        assert override.reaches(reservation.attribution, reservation.reservation_id, reservation.caller)
        assert override.remaining + use.amount > ZERO
        assert command.override_id in {"", use.override_id}
        assert use.amount <= reservation.amount
        for balance in held.balances:
            booked = balance.overridden - (before[balance.key].overridden if balance.key in before else ZERO)
            assert booked == use.part(balance.key.scope, balance.key.window) <= use.amount

    def commit(self, number: int, cost: Decimal) -> None:
        command = commit_of(self.known(number), cost)
        self.ask(command, self.model.commit(command.reservation_id, cost, self.now))

    def release(self, number: int) -> None:
        self.ask(Release(reservation_id=self.known(number)), self.model.release(self.known(number), self.now))

    def extend(self, number: int, more: Decimal | None, ttl: timedelta | None) -> None:
        reservation_id = self.known(number)
        hold = self.model.holds.get(reservation_id)
        amount = None if more is None else more + (hold.amount if hold else ZERO)
        command = Extend(
            reservation_id=reservation_id, ttl=ttl, amount=None if amount is None else Money(amount=amount)
        )
        self.ask(command, self.model.extend(reservation_id, amount, ttl, self.now))

    def settle_together(self, orders: list[tuple[Decimal, Decimal | None]]) -> None:
        """Settle calls of one run in one batch: an override that pays for several is not overdrawn within it."""
        commands: list[Command] = []
        expected = []
        for amount, cost in orders:
            self.asked += 1
            reserve = Reserve(
                reservation_id=f"r{self.asked}",
                attribution=Attribution(run="r"),
                estimate=Money(amount=amount),
                ttl=MINUTE,
                digest=f"r{self.asked}".encode(),
            )
            commands.append(reserve)
            asked = [(scope.kind.value, scope.id) for scope in reserve.attribution.scopes()]
            expected.append(self.model.reserve(reserve.reservation_id, asked, amount, MINUTE, self.now))
            if cost is not None:
                commands.append(commit_of(reserve.reservation_id, cost))
                expected.append(self.model.commit(reserve.reservation_id, cost, self.now))
        found = self.books.settle(self.now, commands)
        assert [words_of(command, verdict) for command, verdict in zip(commands, found, strict=True)] == expected

    def set_cap(
        self,
        scope: tuple[str, str],
        window: str,
        cap: Decimal,
        enforcement: str,
        *,
        frozen: bool,
        floors: dict[str, int],
        thresholds: tuple[int, ...],
    ) -> None:
        command = SetCap(
            scope=Scope(ScopeKind(scope[0]), scope[1]),
            window=Window(window),
            cap=Money(amount=cap),
            enforcement=Enforcement(enforcement),
            thresholds=thresholds,
            floor_normal=floors.get("NORMAL"),
            floor_batch=floors.get("BATCH"),
            frozen=frozen,
        )
        counted = self.model.sums(scope, window, self.model.periods(self.now)[window])
        expected = self.model.set_cap(scope, window, cap, enforcement, self.now, frozen=frozen, floors=floors)
        try:
            self.books.set_cap(self.now, command, counted)
        except errors.InvalidField as error:
            assert (expected, error.metadata["field"]) == ("InvalidField", "floors")
        else:
            assert expected == "SET"

    def grant(self, reached: tuple[str, str] | int, amount: Decimal, ttl: timedelta) -> None:
        """Turn an override on: of a scope, or of a reservation that comes next or next but one."""
        target = f"r{self.asked + 1 + reached}" if isinstance(reached, int) else reached
        scope = None if isinstance(reached, int) else Scope(ScopeKind(reached[0]), reached[1])
        reservation_id = target if isinstance(target, str) else ""
        override_id = self.books.grant(self.now, Target(scope, reservation_id), amount, ttl)
        self.granted[override_id] = amount
        self.model.overrides[override_id] = ModelOverride(
            override_id=override_id, target=target, max_amount=amount, expires_at=self.now + ttl
        )

    def end(self, number: int) -> None:
        """Turn an override off; what is held under it stays held."""
        if not self.granted:
            return
        override_id = draw.pick(self.granted, number)
        self.books.end(self.now, override_id)
        self.model.overrides[override_id].is_on = False

    def advance(self, step: timedelta) -> None:
        self.now += step

    def sweep(self) -> None:
        commands = [Expire(reservation_id=reservation_id) for reservation_id in self.books.reservations]
        self.books.settle(self.now, commands)
        for hold in self.model.holds.values():
            self.model.expire(hold, self.now)

    def wait(self) -> None:
        """Let nothing happen: what a failing example is made short with."""

    def check(self) -> None:
        """Check all that must be true at any time."""
        every_balance_is_the_sum_of_its_entries(self.books, self.model)
        every_excess_is_what_no_override_has_paid(self.books, self.model)
        spending_never_exceeds_the_cap_and_what_was_granted(self.books, self.granted)
        every_override_is_the_sum_of_its_uses(self.books, self.model, self.granted)
        every_crossing_is_told_once(self.books)
