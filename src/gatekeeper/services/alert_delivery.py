"""How do alerts reach people, once or more, and hold up nobody on the way?

Every process runs this, for each channel by itself. A pass hands new alerts to all channels that any server has, claims
what is due on its own, of one organization after the other, sends that without a transaction, and writes down what came
of it:

- Who dies between claiming and writing down leaves a delivery that others may claim when its lease ends: it is sent
  again, with the same id. That an alert is sent twice is possible, that it is not sent at all is not.
- What fails is tried again after a pause that doubles, and is dead after so many attempts: told in the log, and listed.
- A channel that hangs takes time from nobody but itself, and nothing is claimed for it meanwhile.
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
# An attempt takes some milliseconds of the event loop and of the database: so long after each, calls have their turn.
BREATH_S = 0.03
# A channel that no server has is given up on after so long, and how often that is looked for, and a server says which
# channels it has.
ABANDONED_AFTER = timedelta(days=1)
KEEP_INTERVAL_S = 60
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
    """Delivers alerts on these channels. Other processes may have others, and deliver on those."""

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
        self._told_at: dict[tuple[str, str], float] = {}
        # The organization that a channel claimed for last; None: begin with the first.
        self._last: dict[str, str | None] = {}

    def works(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what goes on for ever, side by side: a work for each channel, and one for those that are gone.

        `keep` is to be called before.
        """
        failed = "alerts.delivery_failed"
        if not self._channels:
            # Alerts are for the channels of others, or for nobody.
            return [
                repeat(failed, self.dispatch, lambda _: self._limits.interval_s),
                repeat(failed, self.keep, lambda _: KEEP_INTERVAL_S),
            ]
        return [
            *(
                repeat(failed, partial(self.deliver, channel), partial(self._pause_s, channel))
                for channel in self._channels
            ),
            repeat(failed, self.keep, lambda _: KEEP_INTERVAL_S),
        ]

    def _pause_s(self, channel: Channel, sent: int) -> float:
        return min(BREATH_S * sent, self._limits.interval_s) if sent == channel.at_once else self._limits.interval_s

    async def deliver(self, channel: Channel) -> int:
        """Hand over what is new, and try what is due on a channel, as much as it takes at once; return how many.

        Raises `DatabaseUnavailable`.
        """
        async with self._connection() as connection:
            await self._dispatch(connection)
            claims = [] if self._is_stuck(channel) else await self._claim(connection, channel)
        attempts = [self._attempt(channel, claim) for claim in claims]
        for result in await asyncio.gather(*attempts, return_exceptions=True):
            if result is not None:
                raise result
        return len(claims)

    async def dispatch(self) -> int:
        """Hand over what is new; return how many alerts it were. Raises `DatabaseUnavailable`."""
        async with self._connection() as connection:
            return await self._dispatch(connection)

    async def _dispatch(self, connection: Connection) -> int:
        return await storage.dispatch(connection, self._names, patience=ABANDONED_AFTER, limit=DISPATCH_MAX)

    async def _claim(self, connection: Connection, channel: Channel) -> list[Claim]:
        """Claim as much as a channel takes at once, of the organizations behind the one that was last; then anew."""
        claims: list[Claim] = []
        while room := channel.at_once - len(claims):
            last = self._last.get(channel.name)
            found = await storage.claim(connection, channel.name, last=last, leases_s=self._leases_s, limit=room)
            claims += found
            self._last[channel.name] = found[-1].notice.organization if found else None
            if not found and last is None:
                break
        return claims

    def _is_stuck(self, channel: Channel) -> bool:
        if not channel.is_busy():
            return False
        if self._is_to_tell("stuck", channel):
            log.error("alerts.channel_stuck", channel=channel.name, reason="an attempt has not come back")
        return True

    async def keep(self) -> int:
        """Say which channels there are, and what is wrong with them; give up what waits for those that no server has.

        Return how many deliveries that were. Raises `DatabaseUnavailable`.
        """
        for channel in self._channels:
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    await channel.check()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the channel's
                self._tell_unusable(channel, reason_of(error))
        async with self._connection() as connection:
            await storage.see(connection, self._names)
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
        elif self._is_to_tell("fails", channel):
            log.warning("alerts.channel_fails", reason=error, **of)

    def _tell_unusable(self, channel: Channel, reason: str) -> None:
        if self._is_to_tell("unusable", channel):
            log.error("alerts.channel_unusable", channel=channel.name, reason=reason)

    def _is_to_tell(self, what: str, channel: Channel) -> bool:
        now = time.monotonic()
        if now - self._told_at.get((what, channel.name), -TELL_INTERVAL_S) < TELL_INTERVAL_S:
            return False
        self._told_at[what, channel.name] = now
        return True

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Yield a connection, while it is our turn: others need the pool too."""
        async with self._place:
            with wrap_errors():
                async with self._pool.connection() as connection:
                    yield connection
