"""What does the server do by itself? It ends overdue holds, probes the database, and reads new price books."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from psycopg_pool import PoolTimeout

from gatekeeper.domain.commands import Expire
from gatekeeper.domain.errors import GatekeeperError
from gatekeeper.storage import books, schema
from gatekeeper.storage.connections import Line, Pool, wrap_errors

from .gate import Gate
from .prices import Prices
from .repetition import Failures, repeat

# Overdue holds that one sweep ends, and how many of one organization: as much as the lanes settle within a second.
SWEEP_MAX = 4096
SWEEP_PER_ORGANIZATION = 1024

# How often a database that is away is asked whether it is back.
RETURN_INTERVAL_S = 0.2
# After how long a probe that hangs is given up for another connection.
GIVE_UP_S = 10
# How often descriptors are set free of attempts to connect that were given up: they lie in reference cycles.
GARBAGE_INTERVAL_S = 10
AWAY = {"database": False, "schema": False}


async def sweep(gate: Gate, reads: Pool) -> int:
    """End overdue holds, each in its organization's lane; return how many were settled.

    Several processes may find the same hold: it ends once, whoever comes first. What is refused is found again.
    """
    with wrap_errors():
        async with reads.connection() as connection:
            found = await books.overdue(connection, per_organization=SWEEP_PER_ORGANIZATION, limit=SWEEP_MAX)
    calls = [
        gate.submit(organization, Expire(reservation_id=reservation_id))
        for organization, reservation_ids in found.items()
        for reservation_id in reservation_ids
    ]
    settled = 0
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, GatekeeperError):
            raise result
        settled += not isinstance(result, BaseException)
    return settled


async def sweep_forever(gate: Gate, reads: Pool, interval_s: float) -> None:
    """Sweep at every interval, and at once again while there is more than one sweep ends."""

    def pause_s(settled: int) -> float:
        return interval_s if settled < SWEEP_PER_ORGANIZATION else 0

    await repeat("sweep.failed", lambda: sweep(gate, reads), pause_s)


async def keep_doing(event: str, work: Callable[[], Awaitable[None]], interval_s: float) -> None:
    """Do some work at every interval. What fails is logged as `event` and done again."""

    async def counted() -> int:
        await work()
        return 0

    await repeat(event, counted, lambda _: interval_s)


async def probe(gate: Gate, line: Line, prices: Prices, *, served: Sequence[Pool], away: Failures) -> dict[str, bool]:
    """Return the parts of readiness by name, and open or shut the gate.

    `line` is for this alone: pools may be exhausted by calls that wait. Those in `served` start anew after an outage.
    """
    try:
        with wrap_errors():
            async with line.connection() as connection:
                schema_known = await schema.current_revision(connection) == schema.REVISION
                if not schema_known:
                    # What a newer version keeps count of, this one would get wrong.
                    gate.shut()
                elif not gate.is_open:
                    await _reopen(gate, served)
                await prices.refresh(connection)
    except Exception as error:  # noqa: BLE001 - whatever it is, the database does not answer as it should
        away.add(reason=type(error).__name__)
        gate.shut()
        return AWAY
    away.end()
    return {"database": True, "schema": schema_known}


async def _reopen(gate: Gate, served: Sequence[Pool]) -> None:
    """Let calls in again, on connections that are younger than the outage."""
    await asyncio.gather(*map(_renew, served))
    gate.reopen()


async def _renew(pool: Pool) -> None:
    """Give up a pool's connections; wait until it has a new one, but not for calls that hold all it may have."""
    await pool.drain()
    with suppress(PoolTimeout):
        async with pool.connection():
            pass


async def probe_forever(
    gate: Gate,
    probe_once: Callable[[], Awaitable[dict[str, bool]]],
    report: Callable[[dict[str, bool]], Awaitable[None]],
    *,
    away: Failures,
    interval_s: float,
    timeout_s: float,
) -> None:
    """Probe at every interval, more often while the database is away, and report what was found.

    A probe that hangs counts as a database that is away.
    """
    while True:
        probing = asyncio.ensure_future(probe_once())
        try:
            await asyncio.wait([probing], timeout=timeout_s)
            if not probing.done():
                away.add(reason="it does not answer")
                gate.shut()
                await report(AWAY)
            parts = await asyncio.wait_for(probing, GIVE_UP_S)
        except TimeoutError:
            parts = AWAY
        finally:
            probing.cancel()
        await report(parts)
        await asyncio.sleep(interval_s if gate.is_open else min(interval_s, RETURN_INTERVAL_S))


async def collect_garbage_while_shut(gate: Gate, interval_s: float = GARBAGE_INTERVAL_S) -> None:
    """Look for garbage at every interval while the database is away: too few objects are made then for Python to."""
    while True:
        await asyncio.sleep(interval_s)
        if not gate.is_open:
            gc.collect()
