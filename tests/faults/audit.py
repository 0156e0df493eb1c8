"""Is everything that was acknowledged in the ledger, once, and nothing else?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from random import Random
from typing import Any

import psycopg

from gatekeeper_client import AsyncClient, AsyncHold, from_money

from .load import Acknowledged, Hold, reserve

ABOVE_CAP = "SELECT count(*) FROM balances WHERE reserved + spent > cap OR excess > 0"
OPEN = "SELECT count(*) FROM reservations WHERE state = 'HELD'"
STILL_RESERVED = "SELECT count(*) FROM balances WHERE reserved <> 0"
EXPIRY_PATIENCE_S = 15
REPLAYS = 100


async def sample_caps(database_url: str) -> Counter[int]:
    """Count, until cancelled, how many balances stand above their caps at each instant; while it can be seen."""
    return await sample(database_url, ABOVE_CAP)


async def sample(database_url: str, query: str, interval_s: float = 0.05) -> Counter[int]:
    """Count, until cancelled, which numbers a query finds at each instant; while it can be seen."""
    seen: Counter[int] = Counter()
    try:
        while True:
            try:
                seen[await asyncio.to_thread(count, database_url, query)] += 1
            except psycopg.Error:
                continue
            finally:
                await asyncio.sleep(interval_s)
    except asyncio.CancelledError:
        return seen


def count(database_url: str, query: str) -> int:
    """Return the number that a query finds."""
    with psycopg.connect(database_url, autocommit=True, connect_timeout=2) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def rows(database_url: str, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Return the rows that a query finds."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode(), values).fetchall()


async def until_expired(database_url: str) -> None:
    """Wait until no hold is open, and no money reserved."""
    async with asyncio.timeout(EXPIRY_PATIENCE_S):
        while await asyncio.to_thread(count, database_url, OPEN):
            await asyncio.sleep(0.1)
    assert count(database_url, STILL_RESERVED) == 0


def compare(database_url: str, acknowledged: Acknowledged) -> None:
    """Compare the ledger with what was acknowledged, row by row."""
    with psycopg.connect(database_url) as connection:
        reservations = connection.execute("SELECT reservation_id, amount, state FROM reservations").fetchall()
        executions = connection.execute("SELECT reservation_id, kind, cost FROM executions").fetchall()
    holds, costs = acknowledged.holds, _costs(acknowledged.holds)
    assert sorted(reservations) == sorted((name, hold.amount, hold.state) for name, hold in holds.items())
    assert sorted(executions) == sorted((name, "COMMIT", cost) for name, cost in costs.items())
    assert sum(row[2] for row in executions) == sum(costs.values(), Decimal(0))


def _costs(holds: Mapping[str, Hold]) -> dict[str, Decimal]:
    return {name: from_money(hold.execution.cost) for name, hold in holds.items() if hold.execution is not None}


async def replay(client: AsyncClient, acknowledged: Acknowledged, chance: Random) -> None:
    """Ask again for some of what was acknowledged: the answers are the same."""
    names = chance.sample(sorted(acknowledged.holds), min(REPLAYS, len(acknowledged.holds)))
    for name in names:
        hold = acknowledged.holds[name]
        again = await reserve(client, name, hold)
        assert isinstance(again, AsyncHold)
        assert (again.reservation_id, again.amount) == (name, hold.amount)
        if hold.execution is not None:
            cost = from_money(hold.execution.cost)
            answer = await client.commit(hold.organization, name, amount=cost)
            assert (answer.execution, answer.late) == (hold.execution, False)
