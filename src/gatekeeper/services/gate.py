"""How do thousands of calls a second get through one locked row? By group commit.

Calls of an organization queue in its lane while a transaction is in flight; the next transaction takes all that wait.
There is no timer: a lone call leaves at once. Lanes do not wait for each other, but for a connection of the pool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from gatekeeper.domain import errors
from gatekeeper.domain.commands import Command
from gatekeeper.domain.periods import Periods
from gatekeeper.storage import books as storage
from gatekeeper.storage.connections import Pool, is_lost, wrap_errors

from .batch import Answer, Call, Result, Rules, guess_periods, is_about_one_call, settle

log = structlog.get_logger(__name__)

@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What bounds the gate; see the settings of the same names."""

    batch_max: int
    queue_max: int
    queue_total_max: int
    batch_timeout_s: float
    stalled_after_s: float


class Gate:
    """The way to the ledger for every operation on a reservation."""

    def __init__(self, pool: Pool, rules: Rules, limits: GateLimits) -> None:
        """Take calls for the database behind `pool`."""
        self.pool = pool
        self.rules = rules
        self.limits = limits
        self.waiting = 0
        # Whether the database answers; who probes it sets this, so that calls need not find out one by one.
        self.reachable = True
        self._lanes: dict[str, Lane] = {}

    async def submit(self, organization: str, command: Command, *, timeout_s: float | None = None) -> Answer:
        """Return the verdict on a command, which is durable then.

        Raises a `GatekeeperError` where there is none. Cancelled, or past `timeout_s`, the call is not admitted unless
        it was already being settled.
        """
        if not self.reachable:
            raise errors.DatabaseUnavailable
        if not organization:
            organization = await self._organization_of(command.reservation_id)
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(organization)
        if lane is None:
            lane = self._lanes[organization] = Lane(self, organization)
        call = Call(command=command, verdict=loop.create_future())
        if timeout_s is not None:
            call.expired_at = loop.time() + timeout_s
        lane.enter(call)
        return await call.verdict

    async def _organization_of(self, reservation_id: str) -> str:
        with wrap_errors():
            async with self.pool.connection() as connection:
                found = await storage.organizations_of(connection, reservation_id)
        if not found:
            raise errors.ReservationNotFound(reservation_id=reservation_id)
        if len(found) > 1:
            raise errors.ReservationAmbiguous(reservation_id=reservation_id)
        return found[0]

    def retire(self, lane: Lane) -> None:
        """Forget a lane that has nothing to do."""
        del self._lanes[lane.organization]

    async def drain(self) -> None:
        """Wait until every lane is empty."""
        while self._lanes:
            await asyncio.gather(*(lane.running for lane in self._lanes.values() if lane.running), return_exceptions=True)


class Lane:
    """The queue of one organization, and the task that settles it batch by batch."""

    def __init__(self, gate: Gate, organization: str) -> None:
        """Start with an empty queue."""
        self.organization = organization
        self.running: asyncio.Task[None] | None = None
        self._gate = gate
        self._queue: deque[Call] = deque()
        self._periods: Periods | None = None
        self._since: float | None = None

    def enter(self, call: Call) -> None:
        """Queue a call; refuse it when too many wait."""
        limits = self._gate.limits
        if len(self._queue) >= limits.queue_max or self._gate.waiting >= limits.queue_total_max:
            raise errors.DatabaseUnavailable if self._is_stalled() else errors.QueueFull
        self._queue.append(call)
        self._gate.waiting += 1
        if self.running is None:
            self.running = asyncio.create_task(self._run())

    def _is_stalled(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._since is not None and now - self._since > self._gate.limits.stalled_after_s

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while calls := self._next_batch(loop.time()):
                self._since = loop.time()
                await self._settle(calls)
        finally:
            self._gate.retire(self)
            self._gate.waiting -= len(self._queue)
            for call in self._queue:
                if not call.verdict.done():
                    call.verdict.set_exception(errors.DatabaseUnavailable())

    def _next_batch(self, now: float) -> list[Call]:
        """Take the calls that wait, at most `batch_max`, but for those that nobody waits for any more."""
        batch: list[Call] = []
        while self._queue and len(batch) < self._gate.limits.batch_max:
            call = self._queue.popleft()
            self._gate.waiting -= 1
            if call.is_wanted(now):
                batch.append(call)
            elif not call.verdict.done():
                call.verdict.set_exception(errors.DeadlineExceeded())
        return batch

    async def _settle(self, calls: list[Call]) -> None:
        """Settle a batch; if one call spoils it, settle them one by one, so that it fails alone."""
        try:
            results: Sequence[Result | Exception] = await self._transact(calls)
        except psycopg.Error as error:
            if is_about_one_call(error) and len(calls) > 1:
                log.warning("batch.split", organization=self.organization, calls=len(calls), exc_info=error)
                for call in calls:
                    await self._settle([call])
                return
            failure = errors.DatabaseUnavailable() if is_lost(error) else error
            results = [failure] * len(calls)
        except Exception as error:
            results = [error] * len(calls)
        for call, result in zip(calls, results, strict=True):
            if call.verdict.done():
                continue
            if isinstance(result, Answer):
                call.verdict.set_result(result)
            else:
                call.verdict.set_exception(result)

    async def _transact(self, calls: list[Call]) -> Sequence[Result | Exception]:
        """Settle a batch in one transaction.

        A connection may have died since it was last used. Where that shows before anything was sent that could
        commit, the batch is tried once more on another one.
        """
        pool = self._gate.pool
        try:
            async with asyncio.timeout(self._gate.limits.batch_timeout_s):
                try:
                    return await self._settle_on(pool, calls)
                except psycopg.OperationalError as error:
                    if isinstance(error, PoolTimeout) or error.sqlstate:
                        raise
                    await pool.check()
                    return await self._settle_on(pool, calls)
        except TimeoutError as error:
            raise errors.DatabaseUnavailable from error

    async def _settle_on(self, pool: Pool, calls: list[Call]) -> Sequence[Result | Exception]:
        async with pool.connection() as connection:
            results, self._periods = await settle(
                connection, self.organization, calls, self._gate.rules, guess_periods(self._periods)
            )
        return results
