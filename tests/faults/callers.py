"""How does somebody call who needs an answer? Again and again, with the same id, through whichever server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeVar

from gatekeeper_client import AsyncClient, Overloaded, Unavailable

R = TypeVar("R")

TRY_TIMEOUT_S = 5.0
PAUSE_MAX_S = 0.4
PATIENCE_S = 60


class Callers:
    """Callers of several servers; `answers` counts verdicts, `retries` the tries without one."""

    def __init__(self, clients: Sequence[AsyncClient]) -> None:
        """Speak through `clients`."""
        self.clients = clients
        self.answers = 0
        self.retries = 0

    async def until_answered(
        self, chance: Random, call: Callable[[AsyncClient], Awaitable[R]], first: int | None = None
    ) -> R:
        """Repeat a call until there is a verdict: by any client, or by the one in place `first` the first time."""
        client = chance.choice(self.clients) if first is None else self.clients[first]
        while True:
            try:
                answer = await call(client)
            except (Unavailable, Overloaded):
                self.retries += 1
                await asyncio.sleep(chance.uniform(0, PAUSE_MAX_S))
                client = chance.choice(self.clients)
            else:
                self.answers += 1
                return answer

    async def progress(self, answers: int) -> None:
        """Wait until so many more answers came in."""
        enough = self.answers + answers
        async with asyncio.timeout(PATIENCE_S):
            while self.answers < enough:
                await asyncio.sleep(0.01)
