"""Does the ledger on PostgreSQL agree with the plain model, whatever is done to it, in any order, at any time?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gatekeeper.domain import errors
from gatekeeper.domain.access import SYSTEM, Actor, Caller, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.budget import Enforcement, Scope, ScopeKind
from gatekeeper.domain.caps import SetCap
from gatekeeper.domain.commands import Command, Commit, Extend, Money, Release, Reserve
from gatekeeper.domain.open_holds import HoldLimits
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Attribution, Outcome
from gatekeeper.domain.verdicts import Committed, Denial, Held
from gatekeeper.services.batch import Rules
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.changes import Changes
from gatekeeper.services.gate import Gate
from gatekeeper.services.prices import Prices
from gatekeeper.services.statements import Statements
from gatekeeper.services.upkeep import sweep
from gatekeeper.storage.connections import open_pool
from tests.conftest import verify

from . import strategies as draw
from .model import Books
from .stored_books import LIMITS, MANY_GRANTS, WRITTEN, set_up_clock

START = datetime(2026, 11, 29, 22, 0, tzinfo=UTC)
DEFAULT_CAP = Decimal(3)
BALANCES = """
SELECT scope_kind, scope_id, budget_window, period, reserved, spent FROM balances WHERE organization = %s
"""
ORGANIZATIONS = {"plain": ("UTC", False), "charging": ("America/New_York", True)}

organizations = st.sampled_from(sorted(ORGANIZATIONS))
# Whose holds are counted apart, besides those of the server itself.
actors = st.sampled_from([SYSTEM, *(Actor(Caller(caller_id=i, name=i, role=Role.AGENT), "") for i in ("one", "two"))])


class LedgerMachine(RuleBasedStateMachine):
    """Every operation, at times of its own choosing, on two organizations."""

    url: ClassVar[str]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.stack = AsyncExitStack()
        self.books: dict[str, Books] = {}
        self.database = psycopg.connect(self.url, autocommit=True)

    @initialize()
    def open_books(self) -> None:
        # As a replica, which no trigger keeps from emptying what is written once.
        self.database.execute("SET session_replication_role = replica")
        self.database.execute(f"TRUNCATE {', '.join(WRITTEN)}")
        self.database.execute("SET session_replication_role = origin")
        for name, (zone, charges) in ORGANIZATIONS.items():
            self.books[name] = Books(zone=zone, charges_expired=charges)
        self.set_clock(START)
        self.run(self._open())
        for name, (zone, charges) in ORGANIZATIONS.items():
            self.set_cap(name, ("ORGANIZATION", ""), "MONTH", DEFAULT_CAP, "ENFORCE", frozen=False)
            self.database.execute(
                "UPDATE organizations SET time_zone = %s, expiry_policy = %s WHERE organization = %s",
                (zone, "CHARGE" if charges else "RELEASE", name),
            )

    async def _open(self) -> None:
        self.pool = await self.stack.enter_async_context(open_pool(self.url, name="test", size_max=2, hot=True))
        rules = Rules(
            owner="test",
            monthly_budget=DEFAULT_CAP,
            auto_provision=True,
            prices=Prices(),
            holds=HoldLimits(),
            grants=MANY_GRANTS,
            audit_key=AuditKey(),
        )
        self.gate = Gate(self.pool, rules, LIMITS, Changes())
        self.budgets = Budgets(
            reads=self.pool,
            writes=self.pool,
            monthly_budget=DEFAULT_CAP,
            auto_provision=True,
            audit_key=AuditKey(),
            changes=Changes(),
        )

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def set_clock(self, now: datetime) -> None:
        self.now = now
        self.database.execute("UPDATE fake.clock SET now = %s", (now,))

    def ask(self, name: str, command: Command) -> str:
        """Return what the ledger says, in the model's words."""
        try:
            verdict = self.run(self.gate.submit(name, command)).verdict
        except errors.GatekeeperError as error:
            return type(error).__name__
        match verdict:
            case Denial() as denial:
                return str(denial.denied.reason)
            case Committed():
                return "COMMITTED"
            case Held():
                return "RELEASED" if isinstance(command, Release) else "ADMITTED"
        raise AssertionError(verdict)

    @rule(
        name=organizations,
        number=draw.numbers,
        attribution=draw.attributions,
        amount=draw.amounts,
        ttl=draw.ttls,
        actor=actors,
    )
    def reserve(
        self, *, name: str, number: int, attribution: Attribution, amount: Decimal, ttl: timedelta, actor: Actor
    ) -> None:
        asked = [(scope.kind.value, scope.id) for scope in attribution.scopes()]
        command = Reserve(
            reservation_id=f"r{number}",
            attribution=attribution,
            estimate=Money(amount=amount),
            ttl=ttl,
            digest=repr((asked, amount, ttl)).encode(),
            actor=actor,
        )
        expected = self.books[name].reserve(f"r{number}", asked, amount, ttl, self.now)
        assert self.ask(name, command) == expected

    @rule(name=organizations, number=draw.numbers, cost=draw.amounts)
    def commit(self, name: str, number: int, cost: Decimal) -> None:
        command = Commit(
            reservation_id=f"r{number}", cost=Money(amount=cost), outcome=Outcome.SUCCEEDED, digest=str(cost).encode()
        )
        assert self.ask(name, command) == self.books[name].commit(f"r{number}", cost, self.now)

    @rule(name=organizations, number=draw.numbers)
    def release(self, name: str, number: int) -> None:
        assert self.ask(name, Release(reservation_id=f"r{number}")) == self.books[name].release(f"r{number}", self.now)

    @rule(name=organizations, number=draw.numbers, amount=st.none() | draw.amounts, ttl=st.none() | draw.ttls)
    def extend(self, name: str, number: int, amount: Decimal | None, ttl: timedelta | None) -> None:
        command = Extend(reservation_id=f"r{number}", ttl=ttl, amount=None if amount is None else Money(amount=amount))
        assert self.ask(name, command) == self.books[name].extend(f"r{number}", amount, ttl, self.now)

    @rule(
        name=organizations,
        scope=draw.scopes,
        window=draw.windows,
        cap=draw.amounts,
        enforcement=draw.enforcements,
        frozen=draw.rarely,
    )
    def set_cap(
        self, name: str, scope: tuple[str, str], window: str, cap: Decimal, enforcement: str, *, frozen: bool
    ) -> None:
        command = SetCap(
            scope=Scope(ScopeKind(scope[0]), scope[1]),
            window=Window(window),
            cap=Money(amount=cap),
            enforcement=Enforcement(enforcement),
            frozen=frozen,
        )
        self.run(self.budgets.set_cap(name, command, SYSTEM))
        self.books[name].set_cap(scope, window, cap, enforcement, self.now, frozen=frozen)

    @rule(name=organizations, orders=st.lists(st.tuples(draw.numbers, draw.amounts), min_size=2, max_size=6))
    def reserve_together(self, name: str, orders: list[tuple[int, Decimal]]) -> None:
        """Settle calls in one batch; they have the verdicts that they would have one after another."""
        commands = [
            Reserve(
                reservation_id=f"r{number}",
                attribution=Attribution(),
                estimate=Money(amount=amount),
                ttl=timedelta(minutes=1),
                digest=repr(([("ORGANIZATION", "")], amount, timedelta(minutes=1))).encode(),
            )
            for number, amount in orders
        ]
        expected = [
            self.books[name].reserve(f"r{number}", [("ORGANIZATION", "")], amount, timedelta(minutes=1), self.now)
            for number, amount in orders
        ]

        async def together() -> list[Any]:
            calls = (self.gate.submit(name, command) for command in commands)
            return await asyncio.gather(*calls, return_exceptions=True)

        found = []
        for result in self.run(together()):
            if isinstance(result, BaseException):
                found.append(type(result).__name__)
            else:
                verdict = result.verdict
                found.append(str(verdict.denied.reason) if isinstance(verdict, Denial) else "ADMITTED")
        assert found == expected

    @rule(step=draw.steps)
    def advance(self, step: timedelta) -> None:
        self.set_clock(self.now + step)

    @rule()
    def sweep(self) -> None:
        self.run(sweep(self.gate, self.pool))
        for books in self.books.values():
            for hold in books.holds.values():
                books.expire(hold, self.now)

    @invariant()
    def every_balance_is_the_sum_of_its_entries(self) -> None:
        for name, books in self.books.items():
            for kind, scope_id, window, period, reserved, spent in self.database.execute(BALANCES, (name,)):
                assert (reserved, spent) == books.sums((kind, scope_id), window, period)

    @invariant()
    def no_enforced_budget_is_overdrawn_without_a_row_that_says_why(self) -> None:
        for name in self.books:
            row = self.database.execute(
                "SELECT count(*) FROM balances b WHERE organization = %s AND enforcement = 'ENFORCE'"
                " AND spent + reserved > cap + (SELECT coalesce(sum(amount), 0) FROM excesses e"
                " WHERE (e.organization, e.scope_kind, e.scope_id, e.budget_window, e.period)"
                " = (b.organization, b.scope_kind, b.scope_id, b.budget_window, b.period))",
                (name,),
            ).fetchone()
            assert row == (0,)

    def every_statement_ends_with_what_is_left(self) -> None:
        statements = Statements(self.pool)
        for name in self.books:
            for kind, scope_id, window, period, *_ in self.database.execute(BALANCES, (name,)).fetchall():
                if window == "MONTH":
                    scope = Scope(ScopeKind(kind), scope_id)
                    found = self.run(statements.draw_up(name, scope, period)).statement
                    balance = found.balance
                    assert found.opening == balance.cap
                    assert found.closing == balance.cap - balance.spent - balance.reserved
                    ended = found.releases, found.expiries, found.settled_holds
                    assert -found.holds.amount == balance.reserved + sum(movement.amount for movement in ended)
                    assert found.commits.amount == -balance.spent
                    assert found.commits.amount <= found.overage.amount <= 0

    def teardown(self) -> None:
        self.every_statement_ends_with_what_is_left()
        self.run(sweep(self.gate, self.pool))
        self.every_statement_ends_with_what_is_left()
        self.run(self.stack.aclose())
        self.database.close()
        assert not verify(self.url)


@pytest.fixture
def machine(database_url: str) -> Iterator[type[LedgerMachine]]:
    """Give the machine a database whose clock it sets."""
    set_up_clock(database_url)
    with asyncio.Runner() as runner:
        LedgerMachine.url = database_url
        LedgerMachine.runner = runner
        yield LedgerMachine


def test_the_ledger_agrees_with_the_model(machine: type[LedgerMachine]) -> None:
    """Any operations at any times on any budgets end as the plain model of the rules says."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
