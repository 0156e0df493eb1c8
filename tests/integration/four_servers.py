"""How are four servers started on one database, and called together?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import psycopg

from gatekeeper_client import AsyncClient, AsyncHold, Denied
from tests.conftest import Server, address_of, served_url, server_environment
from tests.serving import start_serving

SERVERS = 4
# Sweeps of all servers meet all the time.
SETTINGS = {"GATEKEEPER_SWEEP_INTERVAL_S": "0.05"}
AMOUNT = Decimal("0.10")
TIMEOUT_S = 60
STANDING = "SELECT scope_kind, reserved, spent, cap FROM balances WHERE organization = %s"
STATES = "SELECT state, count(*) FROM reservations WHERE organization = %s GROUP BY state"


@dataclass(kw_only=True)
class Four:
    """Four servers on one database."""

    addresses: Sequence[str]
    database_url: str

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[Sequence[AsyncClient]]:
        """Yield a client of each server; all are connected, so that what follows arrives together."""
        async with AsyncExitStack() as stack:
            clients = (AsyncClient(address, timeout_s=TIMEOUT_S) for address in self.addresses)
            opened = [await stack.enter_async_context(client) for client in clients]
            await burst(opened, "warm-up", 40)
            yield opened

    def read(self, query: str, organization: str) -> list[tuple[object, ...]]:
        """Return the rows that a query finds of an organization."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), [organization]).fetchall()

    def states(self, organization: str) -> dict[object, object]:
        """Count reservations by state."""
        return {state: count for state, count in self.read(STATES, organization)}  # noqa: C416 - pairs, for the types

    def standing(self, organization: str, kind: str = "ORGANIZATION") -> tuple[object, ...]:
        """Return what is reserved and spent of a budget, and its cap."""
        return next(row[1:] for row in self.read(STANDING, organization) if row[0] == kind)


def start_four(url: str, folder: Path) -> list[Server]:
    """Start all servers at once: one after another takes four times as long."""
    logs = [folder / f"server-{number}.log" for number in range(SERVERS)]
    processes = [
        start_serving(
            *("--listen", "127.0.0.1:0", "--database-url", served_url(url)),
            log=log,
            environment=server_environment(folder, **SETTINGS),
        )
        for log in logs
    ]
    return [
        Server(process=process, address=address_of(process, log)) for process, log in zip(processes, logs, strict=True)
    ]


async def burst(
    clients: Sequence[AsyncClient], organization: str, count: int, campaign: str = ""
) -> list[AsyncHold | Denied]:
    """Reserve so many times at once, through all servers in turn."""

    async def reserve(client: AsyncClient) -> AsyncHold | Denied:
        return await client.reserve(organization, amount=AMOUNT, campaign=campaign)

    return await asyncio.gather(*(reserve(clients[number % len(clients)]) for number in range(count)))
