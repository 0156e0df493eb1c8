"""How is a call replayed? Reserved, held for as long as it took, and committed; without an end, left to expire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import cycle
from time import monotonic, perf_counter

from gatekeeper_client import (
    AsyncClient,
    AsyncHold,
    Denied,
    GatekeeperError,
    TokenEstimate,
    TokenUsage,
    Unavailable,
    new_reservation_id,
)

from .rows import Row
from .tally import Tally
from .timeline import group_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to replay. `speed` 0 means at once; `max_output_tokens` None means what the row used."""

    organization: str
    speed: float
    concurrency: int
    ttl_s: float
    campaigns: int
    departments: int
    max_output_tokens: int | None = None


class Driver:
    """Sends calls, the servers taking turns. At most `concurrency` RPCs are under way at once."""

    def __init__(self, plan: Plan, clients: Sequence[AsyncClient], tally: Tally) -> None:
        """Send by `clients`, count in `tally`."""
        self._plan = plan
        self._clients: Iterator[AsyncClient] = cycle(clients)
        self._tally = tally
        self._slots = asyncio.Semaphore(plan.concurrency)
        self._stopped = asyncio.Event()
        self._ttl = timedelta(seconds=plan.ttl_s)

    def stop(self) -> None:
        """Start no more calls; what is held meanwhile is given back."""
        self._tally.interrupted = True
        self._stopped.set()

    async def run(self, calls: Iterable[tuple[float, Row]]) -> None:
        """Send each call when its time has come, and wait until all of them have ended."""
        began = monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for start_s, row in calls:
                    await self._await_start(began, start_s)
                    await self._slots.acquire()
                    if self._stopped.is_set():
                        self._slots.release()
                        break
                    group.create_task(self._call(row))
        finally:
            self._tally.duration_s = monotonic() - began

    async def pause(self, pause_s: float) -> None:
        """Wait, but no longer than until the stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopped.wait()

    @property
    def stopped(self) -> bool:
        """Whether no more calls are to be started."""
        return self._stopped.is_set()

    async def _await_start(self, began: float, start_s: float) -> None:
        if not self._plan.speed:
            return
        early_s = began + start_s / self._plan.speed - monotonic()
        if early_s > 0:
            await self.pause(early_s)
        else:
            self._tally.lag_max_s = max(self._tally.lag_max_s, -early_s)

    async def _call(self, row: Row) -> None:
        """Replay a call in the slot that was taken for it."""
        campaign = row.campaign or group_of("campaign", row, self._plan.campaigns)
        self._tally.begin(campaign)
        try:
            hold = await self._reserve(row, campaign)
            if hold is not None:
                await self._settle(hold, row, campaign)
        finally:
            self._slots.release()

    async def _reserve(self, row: Row, campaign: str) -> AsyncHold | None:
        most = row.output_tokens if self._plan.max_output_tokens is None else self._plan.max_output_tokens
        reservation_id = new_reservation_id()
        began = perf_counter()
        try:
            verdict = await next(self._clients).reserve(
                self._plan.organization,
                reservation_id=reservation_id,
                department=row.department or group_of("department", row, self._plan.departments),
                campaign=campaign,
                agent=row.agent,
                agent_type=row.agent_type,
                run=row.run,
                tokens=TokenEstimate(
                    model=row.model,
                    input_tokens=row.input_tokens,
                    cached_input_tokens=row.cached_input_tokens,
                    max_output_tokens=most,
                ),
                ttl=self._ttl,
            )
        except GatekeeperError as error:
            self._tally.fail("reserve", error)
            if isinstance(error, Unavailable):
                self._leave_open(reservation_id, None)
            return None
        self._tally.reserving.add(perf_counter() - began)
        if isinstance(verdict, Denied):
            self._tally.deny(campaign, verdict.denial)
            return None
        self._tally.admit(campaign, verdict.reservation)
        return verdict

    async def _settle(self, hold: AsyncHold, row: Row, campaign: str) -> None:
        if not row.ended:
            self._tally.left_open += 1
            self._leave_open(hold.reservation_id, hold.amount)
            return
        if self._plan.speed and row.latency_s:
            self._slots.release()
            try:
                await self.pause(row.latency_s / self._plan.speed)
            finally:
                await self._slots.acquire()
            if self.stopped:
                await self._release(hold)
                return
        await self._commit(hold, row, campaign)

    async def _commit(self, hold: AsyncHold, row: Row, campaign: str) -> None:
        usage = TokenUsage(
            input_tokens=row.input_tokens,
            cached_input_tokens=row.cached_input_tokens,
            output_tokens=row.output_tokens,
        )
        began = perf_counter()
        try:
            if row.latency_s is None:
                response = await hold.commit(usage=usage)
            else:
                response = await hold.commit(usage=usage, latency=timedelta(seconds=row.latency_s))
        except GatekeeperError as error:
            self._tally.fail("commit", error)
            self._leave_open(hold.reservation_id, hold.amount)
            return
        self._tally.committing.add(perf_counter() - began)
        self._tally.commit(campaign, response)

    async def _release(self, hold: AsyncHold) -> None:
        """Give back what a call held that the stop cut short."""
        try:
            await hold.release()
        except GatekeeperError as error:
            self._tally.fail("release", error)
            self._leave_open(hold.reservation_id, hold.amount)
        else:
            self._tally.released += 1

    def _leave_open(self, reservation_id: str, amount: Decimal | None) -> None:
        self._tally.leave_open(reservation_id, amount, monotonic() + self._plan.ttl_s)
