"""How does long work leave the event loop to those who wait for an answer?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TypeVar

Item = TypeVar("Item")

# Items between two pauses: a millisecond or two of work on each.
CHUNK = 32
# No pause is longer, so that the work ends even where everything takes long.
PAUSE_MAX_S = 0.1


async def paced(items: AsyncIterator[Item], share: float) -> AsyncIterator[Item]:
    """Yield items, with pauses so long that the work on them takes this `share` of the time (above 0, at most 1)."""
    done, begun = 0, time.monotonic()
    async for item in items:
        yield item
        done += 1
        if done % CHUNK == 0:
            took = time.monotonic() - begun
            await asyncio.sleep(min(PAUSE_MAX_S, took * (1 / share - 1)))
            begun = time.monotonic()
