"""How often are the books looked at for those who scrape? Once for all of them, at most every five seconds.

Whoever asks gets what is known, and waits for a look that is under way, but not for long: a database that hangs must
not make scrapes pile up.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from gatekeeper.storage.connections import Pool, wrap_errors
from gatekeeper.storage.metrics import Figures, read_figures

log = structlog.get_logger(__name__)

FRESH_S = 5.0
PATIENCE_S = 2.0
# Of the time, at most this part is spent on looking: where there are many budgets, they are looked at less often.
SHARE_MAX = 0.05


class FigureReader:
    """Figures about the books, kept for a while."""

    def __init__(self, pool: Pool, budgets_max: int) -> None:
        """Look by this pool, one connection at a time."""
        self._pool = pool
        self._budgets_max = budgets_max
        self._figures: Figures | None = None
        self._due_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def figures(self) -> Figures | None:
        """Return how the books stand, or stood a little while ago; None where that cannot be found out in time."""
        if time.monotonic() >= self._due_at and self._looking is None:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=PATIENCE_S)
        return None if self._looking is not None else self._figures

    async def stop(self) -> None:
        """End a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking], timeout=PATIENCE_S)

    async def _look(self) -> None:
        pause_s = FRESH_S
        try:
            began_at = time.monotonic()
            with wrap_errors():
                async with self._pool.connection() as connection:
                    self._figures = await read_figures(connection, self._budgets_max)
            pause_s = max(pause_s, (time.monotonic() - began_at) / SHARE_MAX)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to whoever scrapes, again and again
            self._figures = None
            log.warning("metrics.figures_missing", reason=type(error).__name__)
        finally:
            self._due_at = time.monotonic() + pause_s
            self._looking = None
