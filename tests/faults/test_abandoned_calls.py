"""What becomes of calls that nobody waits for any more? Nothing, unless they are asked for again."""

from __future__ import annotations

import asyncio

from gatekeeper_client import AsyncClient, AsyncHold, Unavailable
from tests.conftest import Server

from .in_process import locked, reservation_ids, until_waiting

CALLS = 30
DEADLINE_S = 0.3


async def _reserve(client: AsyncClient, reservation_id: str, timeout_s: float = 20) -> bool:
    """Return whether there is a hold, or no answer in time."""
    call = client.reserve("acme", reservation_id=reservation_id, amount="0.10", timeout_s=timeout_s)
    try:
        return isinstance(await call, AsyncHold)
    except Unavailable:
        return False


def test_abandoned_calls_are_not_admitted(server: Server, database_url: str) -> None:
    """Of calls behind a lock, those whose callers cancelled or gave up hold nothing; asked again, they hold once."""

    async def abandon() -> None:
        async with AsyncClient(server.address) as client:
            assert await _reserve(client, "opened")
            with locked(database_url):
                first = asyncio.create_task(_reserve(client, "first"))
                await until_waiting(database_url)
                living = [asyncio.create_task(_reserve(client, f"living-{n}")) for n in range(CALLS)]
                late = [asyncio.create_task(_reserve(client, f"late-{n}", DEADLINE_S)) for n in range(CALLS)]
                left = [asyncio.create_task(_reserve(client, f"left-{n}")) for n in range(CALLS)]
                await asyncio.sleep(DEADLINE_S)
                for call in left:
                    call.cancel()
                await asyncio.wait([*late, *left])
                assert not any(call.result() for call in late)
                # The server hears of it a moment later than the caller.
                await asyncio.sleep(DEADLINE_S)
            assert all(await asyncio.gather(first, *living))
            expected = {"opened", "first", *(f"living-{n}" for n in range(CALLS))}
            assert reservation_ids(database_url) == expected
            again = [f"{kind}-{n}" for kind in ("late", "left", "living") for n in range(CALLS)]
            assert all(await asyncio.gather(*(_reserve(client, name) for name in again)))
            assert reservation_ids(database_url) == {*expected, *again}

    asyncio.run(abandon())
