"""How does a database become one that the server can use?"""

from __future__ import annotations

import asyncio

import psycopg

from gatekeeper.storage import price_books, schema
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, wrap_errors

from .price_snapshot import snapshot, snapshot_version


async def is_ready(database_url: str) -> bool:
    """Tell whether the database has the schema and the price book of this version."""
    with wrap_errors():
        connection = await psycopg.AsyncConnection.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S)
        async with connection:
            if await schema.current_revision(connection) != schema.REVISION:
                return False
            return await price_books.find(connection, price_books.EVERYONE, snapshot_version()) is not None


async def prepare(database_url: str) -> None:
    """Bring the schema up to date, and put the price book of this version in force."""
    document = asyncio.create_task(asyncio.to_thread(snapshot))
    await asyncio.to_thread(schema.migrate, database_url)
    with wrap_errors():
        connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
        async with connection:
            await price_books.add(connection, price_books.EVERYONE, snapshot_version(), await document)
