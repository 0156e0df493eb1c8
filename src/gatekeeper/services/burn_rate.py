"""Who is told that a budget will not last until its period ends? Whoever reads alerts, once for each budget and period.

Every process looks from time to time, one of them at a time. What was told is not told again until the cap changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from gatekeeper.domain.burn_rate import burn_rate_alert
from gatekeeper.domain.periods import periods_at
from gatekeeper.storage import burn_rate as storage
from gatekeeper.storage import turns
from gatekeeper.storage.alerts import write_alerts
from gatekeeper.storage.books import database_now
from gatekeeper.storage.burn_rate import Candidate
from gatekeeper.storage.connections import Connection, Pool, wrap_errors
from gatekeeper.storage.turns import Turn

from .repetition import repeat

log = structlog.get_logger(__name__)

# Balances between two looks at what else the event loop has to do, some milliseconds.
PAGE_SIZE = 500


async def predict(pool: Pool) -> int:
    """Look at all balances of current periods; return how many are told of, 0 while another process is at it.

    Raises `DatabaseUnavailable`.
    """
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            if not await turns.take(connection, Turn.BURN_RATE):
                return 0
            return await _predict(connection)


async def predict_forever(pool: Pool, interval_s: float) -> None:
    """Look at every interval."""
    await repeat("burn_rate.failed", lambda: predict(pool), lambda _: interval_s)


async def _predict(connection: Connection) -> int:
    now = await database_now(connection)
    zones = _zones(await storage.read_time_zones(connection))
    calendars = {name: periods_at(now, zone) for name, zone in zones.items()}
    await connection.execute(storage.BY_INDEX)
    told, after = 0, None
    while page := await storage.read_page(connection, calendars, after, PAGE_SIZE):
        told += await _tell(connection, page, zones, now)
        after = page[-1]
        if len(page) < PAGE_SIZE:
            break
    return told


def _zones(names: Iterable[str]) -> dict[str, ZoneInfo]:
    """Return the calendars that exist; `gatekeeper verify` tells of the others."""
    zones = {}
    for name in names:
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):
            zones[name] = ZoneInfo(name)
    return zones


async def _tell(connection: Connection, page: Sequence[Candidate], zones: Mapping[str, ZoneInfo], now: datetime) -> int:
    told = 0
    for organization, candidates in groupby(page, key=attrgetter("organization")):
        alerts = [
            alert
            for candidate in candidates
            if (alert := burn_rate_alert(candidate.balance, candidate.currency, zones[candidate.time_zone], now))
        ]
        if alerts:
            await write_alerts(connection, organization, alerts)
            log.info("burn_rate.alerted", organization=organization, budgets=len(alerts))
        told += len(alerts)
    return told
