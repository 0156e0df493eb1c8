"""How do alerts reach people, once or more, and hold up nobody on the way?

Every process runs this, for each channel by itself. A pass hands new alerts to all channels, claims what is due on its
own, sends that without a transaction, and writes down what came of it:

- Who dies between claiming and writing down leaves a delivery that others may claim when its lease ends: it is sent
  again, with the same id. That an alert is sent twice is possible, that it is not sent at all is not.
- What fails is tried again after a pause that doubles, and is dead after so many attempts: told in the log, and listed.
- A channel that hangs takes time from nobody but itself.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from gatekeeper.alerting.channels import Channel
from gatekeeper.alerting.failures import reason_of
from gatekeeper.domain.alert_deliveries import DeliveryState, Notice, jittered_s, pause_s
from gatekeeper.storage import alert_deliveries as storage
from gatekeeper.storage.alert_deliveries import Claim
from gatekeeper.storage.connections import Connection, Pool, wrap_errors

from .repetition import repeat

log = structlog.get_logger(__name__)

# Alerts that one statement hands to the channels.
DISPATCH_MAX = 256
# Connections that all channels of a process take together, each for some milliseconds.
CONNECTIONS = 1
# A channel that no server has is given up on after so long, and how often that is looked for.
ABANDONED_AFTER = timedelta(days=1)
ABANDON_INTERVAL_S = 60
ABANDONED = "no server has had this channel for a day"
# How often it is said that a channel fails.
TELL_INTERVAL_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """How often it is looked for alerts, how long an attempt may take, and how it goes on when one fails."""

    interval_s: float
    timeout_s: float
    attempts_max: int
    retry_s: float


class AlertDelivery:
    """Delivers alerts on these channels, which all processes on a database should have alike."""

    def __init__(self, pool: Pool, channels: Sequence[Channel], limits: DeliveryLimits) -> None:
        """Work by this pool, CONNECTIONS at a time."""
        self._pool = pool
        self._channels = channels
        self._names = [channel.name for channel in channels]
        self._limits = limits
        self._leases_s = [
            limits.timeout_s + pause_s(attempts, limits.retry_s) for attempts in range(1, limits.attempts_max + 1)
        ]
        self._place = asyncio.Semaphore(CONNECTIONS)
        self._told_at: dict[str, float] = {}

    def works(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what goes on for ever, side by side: a work for each channel, and one for those that are gone."""
        return [
            *(
                repeat("alerts.delivery_failed", partial(self.deliver, channel), partial(self._pause_s, channel))
                for channel in self._channels
            ),
            repeat("alerts.delivery_failed", self.abandon, lambda _: ABANDON_INTERVAL_S),
        ]

    def _pause_s(self, channel: Channel, sent: int) -> float:
        return 0 if sent == channel.at_once else self._limits.interval_s

    async def deliver(self, channel: Channel) -> int:
        """Hand over what is new, and try what is due on a channel, as much as it takes at once; return how many.

        Raises `DatabaseUnavailable`.
        """
        async with self._connection() as connection:
            await storage.dispatch(connection, self._names, DISPATCH_MAX)
            claims = await storage.claim(connection, channel.name, leases_s=self._leases_s, limit=channel.at_once)
        attempts = [self._attempt(channel, claim) for claim in claims]
        for result in await asyncio.gather(*attempts, return_exceptions=True):
            if result is not None:
                raise result
        return len(claims)

    async def abandon(self) -> int:
        """Give up what waits for channels that no server has any more; return how many deliveries it were."""
        async with self._connection() as connection:
            count = await storage.abandon(connection, self._names, patience=ABANDONED_AFTER, error=ABANDONED)
        if count:
            log.error("alerts.abandoned", count=count, reason=ABANDONED)
        return count

    async def _attempt(self, channel: Channel, claimed: Claim) -> None:
        """Try once, and write down what came of it."""
        error = await self._send(channel, claimed.notice)
        if error is None:
            async with self._connection() as connection:
                await storage.set_delivered(connection, channel.name, claimed.notice)
            return
        limits = self._limits
        async with self._connection() as connection:
            state = await storage.set_failed(
                connection,
                channel.name,
                claimed,
                error=error,
                pause_s=jittered_s(pause_s(claimed.attempts, limits.retry_s), random.random()),  # noqa: S311 - no secret
                attempts_max=limits.attempts_max,
            )
        self._tell(channel, claimed, state, error)

    async def _send(self, channel: Channel, notice: Notice) -> str | None:
        """Return why an attempt failed, in words without a secret; None: it did not."""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                await channel.deliver(notice)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the channel's, and may quote its address
            return reason_of(error)
        return None

    def _tell(self, channel: Channel, claimed: Claim, state: DeliveryState | None, error: str) -> None:
        """Log each delivery that is given up, and once in a while that a channel fails."""
        of = {"channel": channel.name, "alert_id": claimed.notice.alert_id, "attempts": claimed.attempts}
        if state is DeliveryState.DEAD:
            log.error("alerts.dead", organization=claimed.notice.organization, reason=error, **of)
        elif time.monotonic() - self._told_at.get(channel.name, -TELL_INTERVAL_S) >= TELL_INTERVAL_S:
            self._told_at[channel.name] = time.monotonic()
            log.warning("alerts.channel_fails", reason=error, **of)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Yield a connection, while it is our turn: others need the pool too."""
        async with self._place:
            with wrap_errors():
                async with self._pool.connection() as connection:
                    yield connection
