"""Who keeps the sums that reports are made from? Every server; each organization's, one of them at a time."""

from __future__ import annotations

import asyncio
import time

from gatekeeper.storage import rollups as storage
from gatekeeper.storage.connections import Pool, wrap_errors

from .repetition import repeat

# Executions that one transaction adds, some tenths of a second of work.
STEP = 20_000
# The part of the time in which executions are added up: a backlog of millions takes longer, and leaves the database to
# the calls.
SHARE = 0.25
# No pause is longer, so that it goes on even where everything takes long.
PAUSE_MAX_S = 5.0


async def roll_up(pool: Pool, step: int = STEP) -> int:
    """Add one step of each organization that has something new; return how many may have more.

    Raises `DatabaseUnavailable`.
    """
    with wrap_errors():
        async with pool.connection() as connection:
            organizations = await storage.behind(connection)
    more = 0
    for organization in organizations:
        begun = time.monotonic()
        with wrap_errors():
            async with pool.connection() as connection:
                more += await storage.add_next(connection, organization, step)
        await asyncio.sleep(min(PAUSE_MAX_S, (time.monotonic() - begun) * (1 / SHARE - 1)))
    return more


async def roll_up_forever(pool: Pool, interval_s: float) -> None:
    """Add up at every interval, and go on at once while there is more than one step of any organization."""
    await repeat("rollup.failed", lambda: roll_up(pool), lambda more: 0 if more else interval_s)
