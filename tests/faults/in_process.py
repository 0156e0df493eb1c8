"""How does a test reach the gate without a wire? In its own process, on a real pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg

from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.commands import Money, Reserve
from gatekeeper.domain.grants import GrantLimits
from gatekeeper.domain.open_holds import HoldLimits
from gatekeeper.domain.reservation import Attribution
from gatekeeper.domain.verdicts import Held
from gatekeeper.services.batch import Rules
from gatekeeper.services.changes import Changes
from gatekeeper.services.gate import Gate, GateLimits
from gatekeeper.services.prices import Prices
from gatekeeper.storage.connections import open_pool

LIMITS = GateLimits(batch_max=256, queue_max=2048, queue_total_max=8192, batch_timeout_s=12, stalled_after_s=2)
PATIENCE_S = 10
WAITING_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'gatekeeper-gate'"
)


@asynccontextmanager
async def gate_on(database_url: str, *, pool_max: int = 4, **limits: Any) -> AsyncIterator[Gate]:
    """Yield a gate; at the end see that it has forgotten all calls."""
    rules = Rules(
        owner="test",
        monthly_budget=Decimal(1000),
        auto_provision=True,
        prices=Prices(),
        holds=HoldLimits(),
        grants=GrantLimits(in_force_max=100, requests_max=100),
        audit_key=AuditKey(),
    )
    async with open_pool(database_url, name="gate", size_max=pool_max, hot=True) as pool:
        gate = Gate(pool, rules, replace(LIMITS, **limits), Changes())
        yield gate
        async with asyncio.timeout(PATIENCE_S):
            await gate.drain()
        assert (gate.waiting, gate._lanes) == (0, {})


def reserving(reservation_id: str) -> Reserve:
    """Return the command to hold 0.10."""
    return Reserve(
        reservation_id=reservation_id,
        attribution=Attribution(),
        estimate=Money(amount=Decimal("0.10")),
        ttl=timedelta(minutes=5),
        digest=b"0.10",
    )


async def outcome_of(gate: Gate, reservation_id: str, organization: str = "acme", **call: float) -> str:
    """Reserve; return "held", or the name of the error."""
    try:
        answer = await gate.submit(organization, reserving(reservation_id), **call)
    except Exception as error:  # noqa: BLE001 - its name is what is asked for
        return type(error).__name__
    assert isinstance(answer.verdict, Held)
    return "held"


@contextmanager
def locked(database_url: str, organization: str = "acme") -> Iterator[None]:
    """Hold the lock on an organization's books, for as long as the block lasts."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT FROM organizations WHERE organization = %s FOR UPDATE", [organization])
        yield
        connection.rollback()


async def until_waiting(database_url: str, count: int = 1) -> None:
    """Wait until so many transactions wait for a lock."""
    async with asyncio.timeout(PATIENCE_S):
        while count_of(database_url, WAITING_FOR_A_LOCK) < count:
            await asyncio.sleep(0.01)


def count_of(database_url: str, query: str) -> int:
    """Return the number that a query finds."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def reservation_ids(database_url: str) -> set[str]:
    """Return the ids of all reservations that the ledger knows."""
    with psycopg.connect(database_url) as connection:
        return {row[0] for row in connection.execute("SELECT reservation_id FROM reservations")}
