"""How does what the server does by itself go on for ever, whatever fails?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gatekeeper.domain.errors import GatekeeperError

log = structlog.get_logger(__name__)


async def repeat(event: str, work: Callable[[], Awaitable[int]], pause_s: Callable[[int], float]) -> None:
    """Do some work again and again; `pause_s` says how long to wait after how much was done.

    What fails is logged as `event`, and counts as nothing done.
    """
    while True:
        done = 0
        try:
            done = await work()
        except GatekeeperError as error:
            log.warning(event, reason=str(error))
        except Exception:
            log.exception(event)
        await asyncio.sleep(pause_s(done))
