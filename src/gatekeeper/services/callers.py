"""Whose is a token? Every call asks, so all tokens are in memory, and no call waits for the database.

What is known is as old as the last refresh, which is made every second: what was revoked before it is refused. Where
it is too old, nobody is let in until a refresh succeeds. A token that is not known may be a new one: its call waits for
a refresh that began after it came. All such calls share one refresh, and the next one begins a while after it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from gatekeeper.domain.access import Caller
from gatekeeper.domain.errors import (
    DatabaseUnavailable,
    GatekeeperError,
    QueueFull,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from gatekeeper.domain.tokens import Token
from gatekeeper.storage import tokens as storage
from gatekeeper.storage.connections import Connection, Pool, wrap_errors

# Knowledge that is older lets nobody in. With a second for a call under way, a revocation takes effect within five.
STALE_AFTER_S = 4.0
# Ten refreshes a second at most, whoever sends how many unknown tokens; each takes the database some 0.2 ms.
REFRESH_GAP_S = 0.1
# Calls with unknown tokens that wait at a time. A new token has a handful; more is somebody who guesses.
WAITING_MAX = 256
# How long such a call waits before it is told that the database is away.
WAIT_MAX_S = 3.0
# After how long a read that hangs is given up for another connection.
GIVE_UP_S = 5.0
# How often tokens that ended long ago are looked for, to forget them.
FORGET_EVERY_S = 3600.0


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """What is known of a token. Until when it is good, and kept, are epoch times of the database's clock."""

    caller: Caller
    expires_at: datetime | None
    is_revoked: bool
    ends_s: float
    kept_s: float

    def over(self) -> TokenRevoked | TokenExpired:
        """Return why it is over."""
        if self.expires_at is None or self.is_revoked:
            return TokenRevoked()
        return TokenExpired(expire_time=self.expires_at.isoformat())


class Callers:
    """The tokens of this process, in memory."""

    def __init__(self, pool: Pool) -> None:
        """Read by this pool. Nobody is known until a refresh."""
        self._pool = pool
        # A digest is looked up as it is: to learn one bit by bit, by timing, opens nothing.
        self._entries: dict[bytes, Entry] = {}
        self._revision = 0
        self._server_started_at: datetime | None = None
        self._forget_s = time.monotonic() + FORGET_EVERY_S
        # By the monotonic clock: when the read began that the knowledge is of, and when it is too old.
        self._known_s = self._stale_s = -inf
        # What the database's epoch time is ahead of the monotonic clock.
        self._ahead_s = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._next_reading_s = -inf
        self._waiting = 0
        self._uses: dict[Entry, float] = {}

    def known(self, digest: bytes) -> Caller | None:
        """Return whose token has this digest, and mark its use. None: ask `find`.

        Raises `TokenExpired` or `TokenRevoked`.
        """
        entry = self._entries.get(digest)
        now_s = time.monotonic()
        if entry is None or now_s >= self._stale_s:
            return None
        used_s = now_s + self._ahead_s
        if used_s >= entry.ends_s:
            raise entry.over()
        self._uses[entry] = used_s
        return entry.caller

    async def find(self, digest: bytes) -> Caller:
        """Return whose token has this digest, by what the database says now.

        Raises `TokenInvalid`, `TokenExpired` or `TokenRevoked`; `DatabaseUnavailable` where it does not say, and
        `QueueFull` where too many ask at once.
        """
        if self._waiting >= WAITING_MAX:
            raise DatabaseUnavailable if time.monotonic() >= self._stale_s else QueueFull
        self._waiting += 1
        try:
            await self._refresh(WAIT_MAX_S)
        finally:
            self._waiting -= 1
        if digest not in self._entries:
            raise TokenInvalid
        caller = self.known(digest)
        if caller is None:
            raise DatabaseUnavailable
        return caller

    async def refresh(self) -> None:
        """Learn of every change that was committed before now. Raises `DatabaseUnavailable`."""
        await self._refresh(inf)

    async def _refresh(self, timeout_s: float) -> None:
        asked_s = time.monotonic()
        while self._known_s < asked_s:
            reading = self._read_soon()
            left_s = asked_s + timeout_s - time.monotonic()
            await asyncio.wait([reading], timeout=None if left_s == inf else left_s)
            if not reading.done() or reading.cancelled():
                raise DatabaseUnavailable
            error = reading.exception()
            if isinstance(error, GatekeeperError):
                raise DatabaseUnavailable from error
            if error is not None:
                raise error

    def _read_soon(self) -> asyncio.Task[None]:
        """Return the read that is under way, or begin one. No call owns it: one that ends leaves it to the others."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
            # Where nobody waits any more, nobody needs to know.
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._reading

    async def _read(self) -> None:
        await asyncio.sleep(self._next_reading_s - time.monotonic())
        self._next_reading_s = time.monotonic() + REFRESH_GAP_S
        try:
            with wrap_errors():
                async with self._pool.connection() as connection:
                    await self._learn(connection)
        except TimeoutError:
            raise DatabaseUnavailable from None

    async def _learn(self, connection: Connection) -> None:
        """Read what has changed since the last time, or everything, page by page."""
        entries, revision = self._entries, self._revision
        ended_too = revision > 0
        while True:
            began_s = time.monotonic()
            async with asyncio.timeout(GIVE_UP_S):
                changes = await storage.read_changes(connection, revision, ended_too=ended_too)
            is_other = self._server_started_at not in {None, changes.server_started_at}
            self._server_started_at = changes.server_started_at
            if changes.revision < revision or is_other:
                # It may have another past than ours: an older backup, or another server after a failover.
                entries, revision, ended_too = {}, 0, False
                continue
            for digest, token in changes.tokens:
                _note(entries, digest, token)
            if len(changes.tokens) < storage.CHANGES_PAGE:
                break
            revision = changes.tokens[-1][1].revision
        self._entries, self._revision = entries, changes.revision
        # Taken before the read: what is known is never younger than it seems, and no token lives on.
        self._ahead_s = changes.now.timestamp() - began_s
        self._known_s, self._stale_s = began_s, began_s + STALE_AFTER_S
        self._forget(began_s)

    def _forget(self, now_s: float) -> None:
        """Drop what ended long ago, once in a while."""
        if now_s >= self._forget_s:
            at_s = now_s + self._ahead_s
            self._entries = {digest: entry for digest, entry in self._entries.items() if entry.kept_s > at_s}
            self._forget_s = now_s + FORGET_EVERY_S

    async def write_uses(self) -> None:
        """Write when tokens were last used since the last time. Raises `DatabaseUnavailable`, and keeps them then."""
        uses, self._uses = self._uses, {}
        # Of a token that has changed meanwhile there are two entries, the later one used later.
        latest = {
            (entry.caller.organization, entry.caller.caller_id): entry for entry in sorted(uses, key=uses.__getitem__)
        }
        if not latest:
            return
        rows = [(*key, datetime.fromtimestamp(uses[entry], UTC)) for key, entry in latest.items()]
        try:
            with wrap_errors():
                async with self._pool.connection() as connection:
                    await storage.write_uses(connection, rows)
        except BaseException:
            self._uses = {entry: uses[entry] for entry in latest.values()} | self._uses
            raise


def _note(entries: dict[bytes, Entry], digest: bytes, token: Token) -> None:
    """Keep a token, but for one that is revoked while another with its digest is not: an identity given anew."""
    is_revoked = token.revoked_at is not None
    before = entries.get(digest)
    if is_revoked and before is not None and not before.is_revoked and before.caller.caller_id != token.token_id:
        return
    caller = Caller(
        caller_id=token.token_id,
        name=token.name,
        role=token.role,
        organization=token.organization,
        scope=token.scope,
    )
    ends = [instant.timestamp() for instant in (token.revoked_at, token.expires_at) if instant is not None]
    ended_s = min(ends, default=inf)
    entries[digest] = Entry(
        caller=caller,
        expires_at=token.expires_at,
        is_revoked=is_revoked,
        # Whatever the database's clock says: it may be put back.
        ends_s=-inf if is_revoked else ended_s,
        kept_s=ended_s + storage.ENDED_KEPT.total_seconds(),
    )
