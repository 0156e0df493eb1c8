"""How many calls that end only when their caller wants may be open, and how do they end when the server stops?"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc

from gatekeeper.domain.errors import Draining, TooManyStreams

from .boundary import refusal_of

Context = grpc.aio.ServicerContext[Any, Any]

# How long a stream that ends waits for a message on its way: gRPC takes no status beside it.
LAST_MESSAGE_S = 1.0


async def send(context: Context, message: Any, timeout_s: float | None = None) -> Future[None] | None:
    """Send a message; return once gRPC takes another, or what waits for that where it takes too long.

    Cancelled, it gives the message a moment to leave, so that why the stream ends can be said after it. Raises
    `grpc.aio.InternalError` where the caller has gone.
    """
    writing = asyncio.ensure_future(context.write(message))
    try:
        is_taken, _ = await asyncio.wait({writing}, timeout=timeout_s)
    except CancelledError:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_MESSAGE_S):
                await asyncio.gather(writing, return_exceptions=True)
        raise
    if not is_taken:
        return writing
    writing.result()
    return None


class Streams:
    """Calls without an end of one kind, counted for the whole process: each takes memory for as long as it lasts."""

    def __init__(self, streams_max: int, party_max: int | None = None) -> None:
        """Let in so many at a time, and so many of one party."""
        self._streams_max = streams_max
        self._party_max = streams_max if party_max is None else party_max
        self._open: set[asyncio.Timeout] = set()
        self._parties: Counter[Hashable] = Counter()
        self._ended = False

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @asynccontextmanager
    async def place(self, of: Hashable = None) -> AsyncIterator[None]:
        """Be one of them, of a party. Raises `TooManyStreams`, or `Draining`, now or once they end."""
        self._demand_room(of)
        self._parties[of] += 1
        try:
            async with asyncio.timeout(None) as scope:
                self._open.add(scope)
                try:
                    yield
                finally:
                    self._open.discard(scope)
        except TimeoutError:
            if scope.expired():
                raise Draining from None
            raise
        finally:
            self._parties[of] -= 1
            if not self._parties[of]:
                del self._parties[of]

    def _demand_room(self, of: Hashable) -> None:
        if self._ended:
            raise Draining
        if len(self._open) >= self._streams_max:
            raise TooManyStreams(whose="This server", most=str(self._streams_max))
        if self._parties[of] >= self._party_max:
            raise TooManyStreams(whose="The organization", most=str(self._party_max))

    @asynccontextmanager
    async def one(self, context: Context) -> AsyncIterator[None]:
        """Be one of them, as a servicer that nothing else stands before: what `place` raises ends the call."""
        try:
            async with self.place():
                yield
        except (TooManyStreams, Draining) as error:
            await context.abort(*refusal_of(error))

    def end(self) -> None:
        """End all of them, and let no more in."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        while self._open:
            self._open.pop().reschedule(now)
