"""Does long work leave the event loop to others?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gatekeeper.services.pace import CHUNK, paced


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.mark.parametrize("share", [1, 0.5])
def test_others_come_between(share: float) -> None:
    """All items come in their order, and between two chunks of them others have their turn."""

    async def run() -> tuple[list[int], int]:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        found = [number async for number in paced(numbers(5 * CHUNK), share)]
        others.cancel()
        return found, turns

    found, turns = asyncio.run(run())
    assert found == [*range(5 * CHUNK)]
    assert turns >= 5
