"""How do thousands of calls a second get through one locked row? By group commit.

Calls of an organization queue in its lane while a transaction is in flight; the next transaction takes all that wait.
There is no timer: a lone call leaves at once. Lanes do not wait for each other, but for a connection of the pool.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from gatekeeper.domain import errors
from gatekeeper.domain.commands import Command
from gatekeeper.domain.periods import Periods
from gatekeeper.domain.verdicts import Denial
from gatekeeper.metrics import Metrics
from gatekeeper.storage import books as storage
from gatekeeper.storage.connections import Connection, Pool, is_lost, wrap_errors

from .batch import Answer, Call, Result, Rules, guess_periods, is_about_one_call, settle
from .changes import Changes
from .verdict_metrics import count_verdicts

log = structlog.get_logger(__name__)

# A batch of so many calls costs little more for each of them than a larger one.
BATCH_ENOUGH = 32
# An event loop takes a call from the socket to the gate in some six passes; after so many without one, none is coming.
PASSES_IDLE = 8
# However busy the event loop is with other organizations, those that wait are not held up for longer.
PASSES_MAX = 48

T = TypeVar("T")


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

    def __init__(
        self, pool: Pool, rules: Rules, limits: GateLimits, changes: Changes, metrics: Metrics | None = None
    ) -> None:
        """Take calls for the database behind `pool`; tell `changes` whose books they changed."""
        self.pool = pool
        self.rules = rules
        self.limits = limits
        self.changes = changes
        self.metrics = metrics
        self.waiting = 0
        self.is_open = True
        self._lanes: dict[str, Lane] = {}

    async def submit(self, organization: str, command: Command, *, timeout_s: float | None = None) -> Answer:
        """Return the verdict on a command, which is durable then.

        Raises a `GatekeeperError` where there is none. Cancelled, or past `timeout_s`, the call is not admitted unless
        it was already being settled.
        """
        if not self.is_open:
            raise errors.DatabaseUnavailable
        loop = asyncio.get_running_loop()
        call = Call(command=command, verdict=loop.create_future())
        if timeout_s is not None:
            call.expired_at = loop.time() + timeout_s
        if not organization:
            organization = await self._organization_of(command.reservation_id)
        lane = self._lanes.get(organization) or Lane(self, organization)
        lane.enter(call)
        self._lanes[organization] = lane
        return await call.verdict

    def shut(self) -> None:
        """Refuse calls at once, those that wait too: whoever probes the database says that it does not answer."""
        self.is_open = False
        for lane in self._lanes.values():
            lane.refuse()

    def reopen(self) -> None:
        """Let calls in again."""
        self.is_open = True

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do work on a connection.

        Connections may have died since they were last used, at worst all of them. Where that shows before anything was
        sent that could commit, the work is done again on another one.

        Raises psycopg.Error where nothing was written, and `DatabaseUnavailable` where that is not known.
        """
        attempts = self.pool.max_size + 1
        try:
            async with asyncio.timeout(self.limits.batch_timeout_s):
                while True:
                    attempts -= 1
                    try:
                        async with self._connection() as connection:
                            return await work(connection)
                    except psycopg.OperationalError as error:
                        if not attempts or error.sqlstate or isinstance(error, PoolTimeout):
                            raise
        except TimeoutError as error:
            raise errors.DatabaseUnavailable from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for one transaction, which whoever takes it begins and ends.

        The pool's own way to lend one ends the transaction once more: a tenth of what a small batch costs.
        """
        connection = await self.pool.getconn()
        try:
            yield connection
        except BaseException:
            if not connection.closed:
                await connection.rollback()
            raise
        finally:
            await self.pool.putconn(connection)

    async def _organization_of(self, reservation_id: str) -> str:
        with wrap_errors():
            found = await self.transact(lambda connection: storage.organizations_of(connection, reservation_id))
        if not found:
            raise errors.ReservationNotFound(reservation_id=reservation_id)
        if len(found) > 1:
            raise errors.ReservationAmbiguous(reservation_id=reservation_id)
        return found[0]

    @property
    def lanes(self) -> int:
        """How many organizations have calls under way."""
        return len(self._lanes)

    def retire(self, lane: Lane) -> None:
        """Forget a lane that has nothing to do."""
        del self._lanes[lane.organization]

    async def drain(self) -> None:
        """Wait until every lane is empty."""
        while self._lanes:
            await asyncio.wait([lane.running for lane in self._lanes.values() if lane.running])


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
        self._activity = 0

    def enter(self, call: Call) -> None:
        """Queue a call; refuse it when too many wait."""
        limits = self._gate.limits
        if len(self._queue) >= limits.queue_max or self._gate.waiting >= limits.queue_total_max:
            raise errors.DatabaseUnavailable if self._is_stalled() else errors.QueueFull
        self._queue.append(call)
        self._activity += 1
        self._gate.waiting += 1
        if self.running is None:
            # A lane is nobody's call: what it logs must not carry the trace of the one that woke it.
            self.running = asyncio.create_task(self._run(), context=Context())

    def _is_stalled(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._since is not None and now - self._since > self._gate.limits.stalled_after_s

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while calls := self._next_batch(loop.time()):
                self._since = loop.time()
                await self._settle(calls)
                await self._gather()
        finally:
            self._gate.retire(self)
            self.refuse()

    def refuse(self) -> None:
        """Send all that wait away."""
        self._gate.waiting -= len(self._queue)
        _answer(self._queue, [errors.DatabaseUnavailable()] * len(self._queue))
        self._queue.clear()

    async def _gather(self) -> None:
        """Let the answers of a batch go out and the calls that have arrived come in, while the event loop is at it.

        A batch costs as much as some ten calls, and the calls that come back for the next one trickle in. This is no
        timer: a lone call does not pass here before it leaves, and an idle event loop is through at once.
        """
        idle = 0
        for _ in range(PASSES_MAX):
            seen = self._activity
            await asyncio.sleep(0)
            idle = 0 if self._activity != seen else idle + 1
            if len(self._queue) >= BATCH_ENOUGH or idle == PASSES_IDLE:
                return

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

    async def _settle(self, calls: Sequence[Call]) -> None:
        """Settle a batch; if one call spoils it, settle them one by one, so that it fails alone."""
        try:
            results: Sequence[Result | Exception] = await self._gate.transact(partial(self._transact, calls))
        except psycopg.Error as error:
            if is_about_one_call(error) and len(calls) > 1:
                log.warning("batch.split", organization=self.organization, calls=len(calls), exc_info=error)
                await self._settle_singly(calls)
                return
            results = [errors.DatabaseUnavailable() if is_lost(error) else error] * len(calls)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            results = [error] * len(calls)
        self._tell(calls, results)
        _answer(calls, results)

    def _tell(self, calls: Sequence[Call], results: Sequence[Result | Exception]) -> None:
        """Have what changed heard of, and counted; nobody's answer depends on it."""
        if any(isinstance(result, Answer) and not isinstance(result.verdict, Denial) for result in results):
            self._gate.changes.tell(self.organization)
        if self._gate.metrics is not None:
            since = self._since or 0.0
            self._gate.metrics.batch(len(calls), asyncio.get_running_loop().time() - since)
            count_verdicts(self._gate.metrics, results)

    async def _settle_singly(self, calls: Sequence[Call]) -> None:
        for call in calls:
            if self._gate.is_open:
                await self._settle([call])
            else:
                _answer([call], [errors.DatabaseUnavailable()])

    async def _transact(self, calls: Sequence[Call], connection: Connection) -> Sequence[Result]:
        periods = guess_periods(self._periods)
        results, self._periods = await settle(connection, self.organization, calls, self._gate.rules, periods)
        return results


def _answer(calls: Iterable[Call], results: Iterable[Result | Exception]) -> None:
    """Tell each call what came of it, unless nobody waits for it any more."""
    for call, result in zip(calls, results, strict=True):
        if call.verdict.done():
            continue
        if isinstance(result, Answer):
            call.verdict.set_result(result)
        else:
            call.verdict.set_exception(result)
