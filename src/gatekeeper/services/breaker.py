"""Who stops a run or an agent that spends as if it had run away? The breaker: it freezes its budget and tells.

Every process looks every few seconds, one of them at a time. What was spent before somebody set a budget of the run or
agent does not count: whoever lets it go on has decided about that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import structlog

from gatekeeper.domain.breaker import (
    BREAKER,
    MINUTE,
    UNKNOWN,
    WINDOWS,
    BreakerLimits,
    Normal,
    freeze_reason,
    limit_passed,
    runaway_alert,
)
from gatekeeper.domain.budget import Balance, BalanceKey, Budget, Scope
from gatekeeper.domain.caps import SetCap, etag_of
from gatekeeper.domain.commands import Money
from gatekeeper.domain.errors import GatekeeperError
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.periods import Window, periods_at
from gatekeeper.storage import breaker as storage
from gatekeeper.storage import budgets as budget_rows
from gatekeeper.storage import turns
from gatekeeper.storage.books import database_now
from gatekeeper.storage.breaker import Spending
from gatekeeper.storage.connections import Connection, Pool, wrap_errors
from gatekeeper.storage.turns import Turn

from .budgets import Budgets
from .repetition import repeat

log = structlog.get_logger(__name__)

# Runs and agents that one look freezes, those that spend the most first: each is a transaction of its own.
FREEZES_MAX = 100
# Looking may take this part of the time; where very much was spent within an hour, it is done less often.
LOOKING_SHARE = 0.1
# But not less often than this: a runaway spends on.
PAUSE_MAX_S = 60.0


class Breaker:
    """Looks for those beyond a limit.

    `looked_s` is how long the last look took. What is normal is read again every minute: it changes slowly, and an hour
    is a lot to read.
    """

    def __init__(self, pool: Pool, budgets: Budgets, limits: BreakerLimits) -> None:
        """Look by this pool, one connection at a time, and freeze by `budgets`."""
        self.looked_s = 0.0
        self._pool = pool
        self._budgets = budgets
        self._limits = limits
        self._normals: dict[str, tuple[datetime, Mapping[Scope, Normal]]] = {}

    async def look(self) -> int:
        """Freeze who is beyond a limit; return how many, 0 while another process looks.

        Raises `DatabaseUnavailable`.
        """
        with wrap_errors():
            async with self._pool.connection() as connection, connection.transaction():
                begun = time.monotonic()
                frozen = await self._look(connection) if await turns.take(connection, Turn.BREAKER) else 0
                self.looked_s = time.monotonic() - begun
        return frozen

    async def watch_forever(self, interval_s: float) -> None:
        """Look at every interval."""
        await repeat(
            "breaker.failed", self.look, lambda _: max(interval_s, min(self.looked_s / LOOKING_SHARE, PAUSE_MAX_S))
        )

    async def _look(self, connection: Connection) -> int:
        await connection.execute(storage.BY_INDEX)
        now = await database_now(connection)
        spendings = await storage.read_last_minute(connection, now, self._limits.least)
        await self._read_normals(connection, {spending.organization for spending in spendings}, now)
        frozen = 0
        for spending in spendings:
            if self._limit_passed(spending, spending.spent):
                frozen += await self._stop(connection, spending, now)
            if frozen == FREEZES_MAX:
                break
        return frozen

    async def _read_normals(self, connection: Connection, organizations: set[str], now: datetime) -> None:
        """Read what is normal, where that was not done within the last minute."""
        if self._limits.times_normal is None:
            return
        self._normals = {
            name: (read_at, normals)
            for name, (read_at, normals) in self._normals.items()
            if name in organizations and now - read_at < MINUTE
        }
        for name in organizations - self._normals.keys():
            self._normals[name] = now, await storage.read_normals(connection, name, now)

    def _limit_passed(self, spending: Spending, spent: Decimal) -> str:
        _, normals = self._normals.get(spending.organization, (None, {}))
        return limit_passed(spent, normals.get(spending.scope, UNKNOWN), self._limits, spending.currency)

    async def _stop(self, connection: Connection, spending: Spending, now: datetime) -> bool:
        """Freeze one and tell, unless it is frozen or was let go on; return whether it was frozen now."""
        standings = await _standings(connection, spending, now)
        if any(budget.frozen for budget, _ in standings):
            return False
        spent, decided_at = spending.spent, max((b.updated_at for b, _ in standings if b.updated_at), default=None)
        if decided_at is not None and decided_at > now - MINUTE:
            spent = await storage.spent_since(connection, spending.organization, spending.scope, decided_at)
        if not (limit := self._limit_passed(spending, spent)):
            return False
        return await self._freeze(spending, _command(standings, freeze_reason(spent, limit, spending.currency)))

    async def _freeze(self, spending: Spending, command: SetCap) -> bool:
        """Freeze one and tell; what goes wrong with it does not stop the others."""
        place = {"organization": spending.organization, "kind": spending.scope.kind.value, "id": spending.scope.id}
        try:
            standing = await self._budgets.set_cap(spending.organization, command, BREAKER, announce=runaway_alert)
        except GatekeeperError as error:
            log.warning("breaker.freeze_failed", **place, reason=str(error))
            return False
        log.error("breaker.frozen", **place, reason=standing.budget.reason)
        return True


async def _standings(connection: Connection, spending: Spending, now: datetime) -> list[tuple[Budget, Balance]]:
    """Return the budgets of a run or agent, and how their current periods stand.

    Without any, one that is not there yet (revision 0) and what it would have to count.
    """
    organization, scope = spending.organization, spending.scope
    found = await budget_rows.find_organization(connection, organization)
    assert found is not None
    current = periods_at(now, ZoneInfo(found[1].time_zone))
    periods = [current.of(window) for window in Window]
    standings = await budget_rows.list_budgets(
        connection, organization, periods=periods, scopes=[scope], limit=len(Window)
    )
    if standings:
        return [(s.budget, s.balance or s.budget.fresh(current.of(s.budget.window))) for s in standings]
    none = Budget(scope=scope, window=WINDOWS[scope.kind], cap=ZERO, revision=0)
    key = BalanceKey(scope, none.window, current.of(none.window))
    return [(none, await budget_rows.count_from_books(connection, organization, key, none))]


def _command(standings: Sequence[tuple[Budget, Balance]], reason: str) -> SetCap:
    """Return what freezes the budget of the shortest window as it was seen, or makes one that has no room left."""
    budget, balance = min(standings, key=lambda standing: [*Window].index(standing[0].window))
    if budget.revision:
        return SetCap(scope=budget.scope, window=budget.window, frozen=True, reason=reason, etag=etag_of(budget))
    cap = Money(amount=balance.used)
    return SetCap(scope=budget.scope, window=budget.window, cap=cap, frozen=True, reason=reason)
