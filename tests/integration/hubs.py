"""How does a test watch without a wire? With the hub of a process, on real pools; a message is the caps it shows."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

import psycopg

from gatekeeper.services.changes import Changes
from gatekeeper.services.upkeep import keep_doing
from gatekeeper.services.views import View, read_view
from gatekeeper.services.watch import INTERVAL_S, Watches
from gatekeeper.storage.connections import open_pool

TIMEOUT_S = 20
LISTENERS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'gatekeeper-listen'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A process's hub, its changes, and the organizations that it has read, in order."""

    changes: Changes
    watches: Watches
    reads: list[str]


@asynccontextmanager
async def hub_on(database_url: str) -> AsyncIterator[Hub]:
    """Run the hub of a process that nobody has watched in yet."""
    async with (
        open_pool(database_url, name="upkeep", size_max=1, hot=False) as own,
        open_pool(database_url, name="reads", size_max=4, hot=False) as reads,
    ):
        changes, noted = Changes(), list[str]()

        async def read(organization: str) -> View:
            noted.append(organization)
            return await read_view(reads, organization)

        watches = Watches(
            changes=changes,
            own=own,
            database_url=database_url,
            read=read,
            write=written,
            origin=secrets.token_hex(8),
        )
        tasks = [
            asyncio.create_task(keep_doing("watch.notify_failed", watches.tell, INTERVAL_S)),
            asyncio.create_task(keep_doing("watch.listen_failed", watches.listen, 0.05)),
        ]
        try:
            yield Hub(changes=changes, watches=watches, reads=noted)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def listening_hub_on(database_url: str) -> AsyncIterator[Hub]:
    """Run the hub of a process that hears of changes in others. Nothing is watched any more."""
    set_cap(database_url, "first", 1)
    async with hub_on(database_url) as hub:
        async with aclosing(hub.watches.messages("first")) as first, asyncio.timeout(TIMEOUT_S):
            await anext(first)
            while not hub.watches.is_listening:
                await asyncio.sleep(0.01)
        hub.reads.clear()
        yield hub


def written(view: View) -> bytes:
    """Write of each budget shown what its cap is, behind a star where all are shown."""
    caps = (str(balance.cap.normalize()) for balance in view.balances)
    return f"{'*' if view.is_whole else ''}{' '.join(caps)}".encode()


def set_cap(database_url: str, organization: str, cap: Decimal | int) -> None:
    """Set an organization's cap, as a process does that then ends without telling anybody."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO organizations (organization) VALUES (%s) ON CONFLICT DO NOTHING", [organization]
        )
        connection.execute(
            "INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds)"
            " VALUES (%s, 'ORGANIZATION', '', 'MONTH', %s, 'ENFORCE', '{80}')"
            " ON CONFLICT (organization, scope_kind, scope_id, budget_window) DO UPDATE SET cap = excluded.cap",
            [organization, cap],
        )


def listeners(database_url: str) -> list[int]:
    """Return the backends that processes hear of changes by."""
    with psycopg.connect(database_url) as connection:
        return [pid for (pid,) in connection.execute(LISTENERS)]


async def message_of(messages: AsyncIterator[bytes | None]) -> bytes:
    """Wait for the next message."""
    async with asyncio.timeout(TIMEOUT_S):
        while (message := await anext(messages)) is None:
            continue
    return message
