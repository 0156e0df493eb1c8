"""How many calls that end only when their caller wants may be open, and how do they end when the server stops?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]

STOPPING = "the server is stopping"


class Streams:
    """Calls without an end of one kind, counted for the whole process: each takes memory for as long as it lasts."""

    def __init__(self, streams_max: int) -> None:
        """Let in so many at a time."""
        self._streams_max = streams_max
        self._open: set[asyncio.Timeout] = set()
        self._ended = False

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @asynccontextmanager
    async def one(self, context: Context) -> AsyncIterator[None]:
        """Be one of them. Aborts with RESOURCE_EXHAUSTED if there are too many, with UNAVAILABLE once they end."""
        if self._ended:
            await context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)
        if len(self._open) >= self._streams_max:
            most = f"this server has {self._streams_max} such streams open, and takes no more"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, most)
        try:
            async with asyncio.timeout(None) as scope:
                self._open.add(scope)
                try:
                    yield
                finally:
                    self._open.discard(scope)
        except TimeoutError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, STOPPING)

    def end(self) -> None:
        """End all of them, and let no more in."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        while self._open:
            self._open.pop().reschedule(now)
