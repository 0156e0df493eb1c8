"""How often are the books looked at for those who scrape? Once for all of them, at most every five seconds.

Whoever asks gets what is known, and waits for looks that are under way, but not for long: a database that hangs must
not make scrapes pile up. What was known stays known where a look fails, together with its age.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from gatekeeper.storage.connections import Connection, Pool, wrap_errors
from gatekeeper.storage.metrics import Counts, FullBudget, read_counts, read_fullest

log = structlog.get_logger(__name__)

FRESH_S = 5.0
PATIENCE_S = 2.0
# Of the time, at most this part is spent on looking: where there are many budgets, they are looked at less often,
SHARE_MAX = 0.05
# but as often as this.
PAUSE_MAX_S = 300.0
# Longer than the statements may take.
LOOK_MAX_S = 10.0

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is known about the books, None for what never could be read; and how old it is, at least, by query."""

    counts: Counts | None
    budgets: Sequence[FullBudget] | None
    age_s: Mapping[str, float]


class FigureReader:
    """Figures about the books, kept for a while; what one kind of them costs or lacks is nothing to the other."""

    def __init__(self, pool: Pool, budgets_max: int, is_away: Callable[[], bool]) -> None:
        """Look by this pool, on one connection for each kind, unless the database is known to be away."""

        async def fullest(connection: Connection) -> Sequence[FullBudget]:
            return await read_fullest(connection, budgets_max)

        self._is_away = is_away
        self._counts = _Looks("counts", pool, read_counts)
        self._budgets = _Looks("budgets", pool, fullest)

    async def figures(self) -> Figures:
        """Return how the books stand, or stood a while ago."""
        looks = (self._counts, self._budgets)
        if self._is_away():
            for each in looks:
                each.due_at = 0.0
        else:
            await _patiently([task for each in looks if (task := each.begun()) is not None])
        return Figures(
            counts=self._counts.found,
            budgets=self._budgets.found,
            age_s={each.query: time.monotonic() - each.found_at for each in looks},
        )

    async def stop(self) -> None:
        """End looks that are under way."""
        tasks = [each.looking for each in (self._counts, self._budgets) if each.looking is not None]
        for task in tasks:
            task.cancel()
        await _patiently(tasks)


class _Looks(Generic[Found]):
    """Looks of one kind, one after the other."""

    def __init__(self, query: str, pool: Pool, read: Callable[[Connection], Awaitable[Found]]) -> None:
        self.due_at = 0.0
        self.looking: asyncio.Task[None] | None = None
        self.query = query
        # What the last look that did not fail found, and when it began.
        self.found: Found | None = None
        self.found_at = time.monotonic()
        self._pool = pool
        self._read = read

    def begun(self) -> asyncio.Task[None] | None:
        """Return the look that is under way, a new one if it is time for one."""
        if self.looking is None and time.monotonic() >= self.due_at:
            self.looking = asyncio.create_task(self._look())
        return self.looking

    async def _look(self) -> None:
        began_at = time.monotonic()
        try:
            with wrap_errors():
                async with asyncio.timeout(LOOK_MAX_S), self._pool.connection() as connection:
                    self.found = await self._read(connection)
            self.found_at = began_at
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to whoever scrapes, again and again
            log.warning("metrics.figures_missing", query=self.query, reason=type(error).__name__)
        finally:
            now = time.monotonic()
            self.due_at = now + min(max(FRESH_S, (now - began_at) / SHARE_MAX), PAUSE_MAX_S)
            self.looking = None


async def _patiently(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE_S)
