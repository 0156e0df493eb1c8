"""Who may have a child render, and when? Few at a time, one of each party, in the order they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager

from gatekeeper.domain import errors

# Children at a time: each takes a processor, some 100 MB, and a connection if it reads executions.
CHILDREN_MAX = 2
# How long somebody waits: as long as two files of a million executions take. Exports that wait are places, too.
WAIT_MAX_S = 300.0


class _Turns:
    """The renderings of a party: all of them are counted, one has its turn."""

    __slots__ = ("count", "turn")

    def __init__(self) -> None:
        self.count = 0
        self.turn = asyncio.Lock()


class RenderingPlaces:
    """The places of children that render. `waiting` and `under_way` count."""

    def __init__(self) -> None:
        """Begin with all of them free."""
        self.waiting = 0
        self.under_way = 0
        self._places = asyncio.Semaphore(CHILDREN_MAX)
        self._parties: dict[Hashable, _Turns] = {}

    @property
    def parties(self) -> int:
        """How many have or want a place."""
        return len(self._parties)

    @asynccontextmanager
    async def place(self, of: Hashable) -> AsyncIterator[None]:
        """Wait for a place, and have it. Raises `QueueFull` where that takes too long."""
        turns = self._parties.setdefault(of, _Turns())
        turns.count += 1
        try:
            async with AsyncExitStack() as stack:
                await self._enter(turns, stack)
                self.under_way += 1
                try:
                    yield
                finally:
                    self.under_way -= 1
        finally:
            turns.count -= 1
            if not turns.count:
                del self._parties[of]

    async def _enter(self, turns: _Turns, stack: AsyncExitStack) -> None:
        """Take the party's turn first: whoever waits for that keeps nobody else from a place."""
        self.waiting += 1
        try:
            async with asyncio.timeout(WAIT_MAX_S):
                await stack.enter_async_context(turns.turn)
                await stack.enter_async_context(self._places)
        except TimeoutError:
            raise errors.QueueFull from None
        finally:
            self.waiting -= 1
