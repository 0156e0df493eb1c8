"""How does what the server does by itself go on for ever, whatever fails, and how often is that told?"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import structlog

from gatekeeper.domain.errors import GatekeeperError

log = structlog.get_logger(__name__)

# How often it is told that something still fails.
TELL_INTERVAL_S = 60
# How often it is told that something fails which works in between.
RETURN_INTERVAL_S = 10


class Failures:
    """Failures of one thing: told when they begin, once a minute while they last, and when it works again."""

    def __init__(self, event: str, ended: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Tell of them as `event`, and of their end as `ended`."""
        self._event = event
        self._ended = ended
        self._clock = clock
        self._told_at = -math.inf
        # Whether it is told that it fails, and no end of it; and how many failures nobody was told of.
        self._is_told = False
        self._count = 0

    def add(self, reason: str | None = None, error: Exception | None = None, **told: object) -> None:
        """Note a failure, for a known reason or by an error that nobody foresaw, with what else there is to tell."""
        self._count += 1
        now = self._clock()
        if now - self._told_at < (TELL_INTERVAL_S if self._is_told else RETURN_INTERVAL_S):
            return
        if error is None:
            log.warning(self._event, reason=reason, count=self._count, **told)
        else:
            log.error(self._event, exc_info=error, count=self._count, **told)
        self._told_at, self._is_told, self._count = now, True, 0

    def end(self) -> None:
        """Note that it works."""
        if self._is_told:
            log.info(self._ended, after=self._event, untold=self._count)
            self._is_told, self._count = False, 0


async def repeat(event: str, work: Callable[[], Awaitable[int]], pause_s: Callable[[int], float]) -> None:
    """Do some work again and again; `pause_s` says how long to wait after how much was done.

    What fails is logged as `event`, and counts as nothing done.
    """
    failures = Failures(event, "work.resumed")
    while True:
        done = 0
        try:
            done = await work()
        except GatekeeperError as error:
            failures.add(reason=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the work goes on
            failures.add(error=error)
        else:
            failures.end()
        await asyncio.sleep(pause_s(done))
