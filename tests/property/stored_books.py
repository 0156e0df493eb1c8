"""How are books kept in PostgreSQL, by the services that servers use? Read back whole after each change."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

from gatekeeper.domain import errors
from gatekeeper.domain.access import SYSTEM
from gatekeeper.domain.alerts import Alert, AlertBasis, AlertKind
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.budget import Alerted, Balance, BalanceKey, Enforcement, ExcessKind, Scope, ScopeKind
from gatekeeper.domain.caps import SetCap
from gatekeeper.domain.commands import Command, Money
from gatekeeper.domain.grants import GrantLimits, Terms
from gatekeeper.domain.open_holds import HoldLimits
from gatekeeper.domain.override_steps import Target
from gatekeeper.domain.overrides import Override
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Execution, ExpiryPolicy, Reservation
from gatekeeper.domain.verdicts import Excess, Verdict
from gatekeeper.services.batch import Rules
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.changes import Changes
from gatekeeper.services.gate import Gate, GateLimits
from gatekeeper.services.overrides import Grants
from gatekeeper.services.prices import Prices
from gatekeeper.storage import rows
from gatekeeper.storage.connections import open_pool
from gatekeeper.storage.override_rows import OVERRIDE_COLUMNS, override

DEFAULT_CAP = Decimal(10)
LIMITS = GateLimits(batch_max=8, queue_max=64, queue_total_max=64, batch_timeout_s=10, stalled_after_s=5)
MANY_GRANTS = GrantLimits(in_force_max=1000, requests_max=1000)
FAKE_CLOCK = """
CREATE SCHEMA fake;
CREATE TABLE fake.clock (now timestamptz NOT NULL);
INSERT INTO fake.clock VALUES ('2026-11-29 22:00+00');
CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now FROM fake.clock';
CREATE FUNCTION fake.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now FROM fake.clock';
"""
# Every table that the services write.
WRITTEN = (
    "organizations",
    "budgets",
    "balances",
    "reservations",
    "executions",
    "excesses",
    "denials",
    "open_holds",
    "audit_events",
    "overrides",
    "alerts",
)
BALANCES = """
SELECT p.*, b.frozen, b.thresholds FROM balances p
JOIN budgets b USING (organization, scope_kind, scope_id, budget_window) WHERE organization = %s
"""


def set_up_clock(database_url: str) -> None:
    """Give a database a clock that stands still until it is set."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FAKE_CLOCK)
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET search_path = fake, public, pg_catalog".encode())


class Services:
    """The services of a server, without one, and a connection behind their backs."""

    def __init__(self, database_url: str) -> None:
        """Open them; `close` ends them."""
        self.database_url = database_url
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.database = psycopg.connect(database_url, autocommit=True)
        self.run(self._open(database_url))

    async def _open(self, database_url: str) -> None:
        pool = await self.stack.enter_async_context(open_pool(database_url, name="test", size_max=2, hot=True))
        changes, key = Changes(), AuditKey()
        rules = Rules(
            owner="test",
            monthly_budget=DEFAULT_CAP,
            auto_provision=True,
            prices=Prices(),
            holds=HoldLimits(),
            grants=MANY_GRANTS,
            audit_key=key,
        )
        self.gate = Gate(pool, rules, LIMITS, changes)
        self.budgets = Budgets(
            reads=pool, writes=pool, monthly_budget=DEFAULT_CAP, auto_provision=True, audit_key=key, changes=changes
        )
        self.grants = Grants(reads=pool, writes=pool, limits=MANY_GRANTS, audit_key=key, changes=changes)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def empty(self) -> None:
        """Forget all books: as a replica, which no trigger keeps from emptying what is written once."""
        self.database.execute("SET session_replication_role = replica")
        self.database.execute(f"TRUNCATE {', '.join(WRITTEN)}".encode())
        self.database.execute("SET session_replication_role = origin")

    def close(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        self.database.close()


@dataclass(kw_only=True)
class StoredBooks:
    """One organization's books, the only ones in their database."""

    services: Services
    policy: ExpiryPolicy
    name: str = "o"
    balances: dict[BalanceKey, Balance] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    excesses: list[Excess] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    overrides: dict[str, Override] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open them."""
        self.services.empty()
        self.services.database.execute(
            "INSERT INTO organizations (organization, expiry_policy) VALUES (%s, %s)", (self.name, self.policy.value)
        )

    def settle(self, now: datetime, commands: Sequence[Command]) -> list[Verdict | errors.GatekeeperError]:
        """Settle commands together; return each one's verdict, or why there is none."""
        self._set_clock(now)
        found: list[Verdict | errors.GatekeeperError] = self.services.run(self._submit(commands))
        self._read()
        return found

    async def _submit(self, commands: Sequence[Command]) -> list[Verdict | errors.GatekeeperError]:
        return await asyncio.gather(*map(self._verdict, commands))

    async def _verdict(self, command: Command) -> Verdict | errors.GatekeeperError:
        try:
            return (await self.services.gate.submit(self.name, command)).verdict
        except errors.GatekeeperError as error:
            return error

    def set_cap(self, now: datetime, command: SetCap, _counted: tuple[Decimal, Decimal]) -> None:
        """Set a budget; what it has to count is in the books."""
        self._set_clock(now)
        self.services.run(self.services.budgets.set_cap(self.name, command, SYSTEM))
        self._read()

    def grant(self, now: datetime, target: Target, amount: Decimal, ttl: timedelta) -> str:
        """Turn an override on; return its id."""
        self._set_clock(now)
        terms = Terms(target=target, max_amount=Money(amount=amount), reason="why", ttl=ttl)
        made = self.services.run(self.services.grants.turn_on(self.name, terms, SYSTEM)).overrides[0]
        self._read()
        override_id: str = made.override_id
        return override_id

    def end(self, now: datetime, override_id: str) -> None:
        """Turn an override off."""
        self._set_clock(now)
        self.services.run(self.services.grants.end(self.name, override_id, "why", SYSTEM))
        self._read()

    def _set_clock(self, now: datetime) -> None:
        self.services.database.execute("UPDATE fake.clock SET now = %s", (now,))

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.services.database.execute(statement.encode(), (self.name,)).fetchall()

    def _records(self, statement: str) -> list[dict[str, Any]]:
        cursor = self.services.database.cursor(row_factory=dict_row)
        return cursor.execute(statement.encode(), (self.name,)).fetchall()

    def _read(self) -> None:
        reservations = self._rows(f"SELECT {rows.RESERVATION_COLUMNS} FROM reservations WHERE organization = %s")
        self.reservations = {row[0]: rows.reservation(row) for row in reservations}
        executions = self._rows(f"SELECT {rows.EXECUTION_COLUMNS} FROM executions WHERE organization = %s")
        self.executions = [rows.execution(row) for row in executions]
        found = [
            override(row) for row in self._rows(f"SELECT {OVERRIDE_COLUMNS} FROM overrides WHERE organization = %s")
        ]
        self.overrides = {each.override_id: each for each in found}
        self.balances = {key_of(record): _balance(record) for record in self._records(BALANCES)}
        self.excesses = [
            Excess(key_of(record), ExcessKind(record["kind"]), record["amount"], record["reservation_id"])
            for record in self._records("SELECT * FROM excesses WHERE organization = %s ORDER BY excess_id")
        ]
        alerts = self._records("SELECT * FROM alerts WHERE organization = %s ORDER BY alert_id")
        self.alerts = [_alert(record) for record in alerts]


def key_of(record: dict[str, Any]) -> BalanceKey:
    scope = Scope(ScopeKind(record["scope_kind"]), record["scope_id"])
    return BalanceKey(scope, Window(record["budget_window"]), record["period"])


def _balance(record: dict[str, Any]) -> Balance:
    names = ("cap", "frozen", "reserved", "spent", "excess", "overridden")
    return Balance(
        key_of(record),
        enforcement=Enforcement(record["enforcement"]),
        alerted=Alerted(record["alerted_spent"], record["alerted_used"], record["alert_round"]),
        thresholds=tuple(record["thresholds"]),
        **{name: record[name] for name in names},
    )


def _alert(record: dict[str, Any]) -> Alert:
    names = ("message", "occurred_at", "threshold", "round", "subject")
    return Alert(
        kind=AlertKind(record["kind"]),
        key=key_of(record),
        basis=AlertBasis(record["basis"]),
        **{name: record[name] for name in names},
    )
