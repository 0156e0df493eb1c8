"""Who keeps the sums that reports are made from? Every server; each organization's, one of them at a time."""

from __future__ import annotations

import asyncio
import time

from gatekeeper.storage import rollups as storage
from gatekeeper.storage.connections import Pool, wrap_errors

from .repetition import Failures, repeat

# Executions that one transaction adds, some tenths of a second of work.
STEP = 20_000
# The part of the time in which executions are added up: a backlog of millions takes longer, and leaves the database to
# the calls.
SHARE = 0.25
# No pause is longer, so that it goes on even where everything takes long.
PAUSE_MAX_S = 5.0
# Organizations that a log line names.
TOLD_MAX = 10


async def roll_up(pool: Pool, failures: Failures, step: int = STEP) -> int:
    """Add one step of each organization that has something new; return how many may have more.

    What fails for one organization, whatever it is, is added to `failures`, and the others go on. Raises
    `DatabaseUnavailable` where nobody knows which organizations there are.
    """
    with wrap_errors():
        async with pool.connection() as connection:
            organizations = await storage.behind(connection)
    more = 0
    failed: dict[str, Exception] = {}
    for organization in organizations:
        begun = time.monotonic()
        try:
            async with pool.connection() as connection:
                more += await storage.add_next(connection, organization, step)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up the others
            failed[organization] = error
        await asyncio.sleep(min(PAUSE_MAX_S, (time.monotonic() - begun) * (1 / SHARE - 1)))
    if failed:
        failures.add(error=next(iter(failed.values())), organizations=[*failed][:TOLD_MAX], failed=len(failed))
    else:
        failures.end()
    return more


async def roll_up_forever(pool: Pool, interval_s: float) -> None:
    """Add up at every interval, and go on at once while there is more than one step of any organization."""
    failures = Failures("rollup.organizations_failed", "rollup.organizations_resumed")
    await repeat("rollup.failed", lambda: roll_up(pool, failures), lambda more: 0 if more else interval_s)
