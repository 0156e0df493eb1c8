"""When are servers killed? Whenever they have answered enough, at random moments, until all is done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random

from .callers import Callers
from .cluster import Cluster

MOMENT_MAX_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Killer:
    """Whoever kills -9 up to half of the servers at a time, and starts them again; after `calm` answers each time."""

    cluster: Cluster
    callers: Callers
    chance: Random
    calm: int

    async def during(self, work: Coroutine[None, None, None]) -> None:
        """Kill until the work is done."""
        working = asyncio.ensure_future(work)
        try:
            while await self._has_progressed(working):
                await self.strike()
        finally:
            working.cancel()
            await asyncio.wait([working])
        await working

    async def strike(self) -> None:
        """Kill some, and start them again."""
        places = sorted(self.cluster.servers)
        doomed = self.chance.sample(places, self.chance.randint(1, len(places) // 2))
        await asyncio.sleep(self.chance.uniform(0, MOMENT_MAX_S))
        await asyncio.to_thread(self.cluster.restart, *doomed)

    async def _has_progressed(self, working: asyncio.Future[None]) -> bool:
        """Wait for enough answers; return whether there is still something to be done."""
        progress = asyncio.ensure_future(self.callers.progress(self.calm))
        await asyncio.wait([working, progress], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            progress.cancel()
            return False
        await progress
        return True
