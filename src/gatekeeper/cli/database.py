"""Which database do the commands that need no server work on?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from gatekeeper.database import data_dir, open_database
from gatekeeper.embedded import find_running
from gatekeeper.settings import Settings
from gatekeeper.storage import schema
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, Pool, open_pool

from .options import fail

# Commands work one after another.
POOL_SIZE = 1


@asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of a database that answers.

    It is the given one, the embedded one that runs, or else that one, started for now.
    """
    running = None if settings.database_url else find_running(data_dir(settings))
    if running is not None:
        yield running
        return
    async with open_database(settings, as_owner=True) as url:
        if settings.database_url is not None:
            await require_answer(url)
        yield url


async def require_answer(url: str) -> None:
    """Say why a database cannot be reached, which a pool would not know."""
    try:
        await (await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_TIMEOUT_S)).close()
    except psycopg.Error as error:
        fail(f"the database cannot be reached: {why(error)}")


def why(error: psycopg.Error) -> str:
    """Return in one line what the driver says, but for a connection string that it cannot read: it would repeat it."""
    if isinstance(error, psycopg.ProgrammingError):
        return "what was given is no connection string"
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    if "resolve host" in line and "@" in line:
        return "its host cannot be found; in a URL, a password has %40 for @ and %2F for /"
    return line


@asynccontextmanager
async def ledger(settings: Settings) -> AsyncIterator[Pool]:
    """Yield a connection pool for a database with the schema that this version knows."""
    async with reached(settings) as url, open_pool(url, name="command", size_max=POOL_SIZE, hot=False) as pool:
        async with pool.connection() as connection:
            await schema.require_current(connection)
        yield pool
