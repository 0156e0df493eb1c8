"""Where are the price books? By organization and version; those of the empty organization are for everyone."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from .connections import Connection

EVERYONE = ""

# The newest book for everyone, by the primary key's first column; there are a handful.
NEWEST = "SELECT version, document FROM price_books WHERE organization = '' ORDER BY sequence DESC LIMIT 1"
NEWEST_VERSION = "SELECT version FROM price_books WHERE organization = '' ORDER BY sequence DESC LIMIT 1"

# Books are immutable: a version that is there stays as it is.
INSERT = "INSERT INTO price_books (organization, version, document) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


async def newest_version(connection: Connection) -> str | None:
    """Return the version of the book that is in force for everyone."""
    row = await (await connection.execute(NEWEST_VERSION)).fetchone()
    return str(row[0]) if row else None


async def newest(connection: Connection) -> dict[str, Any] | None:
    """Return the book that is in force for everyone."""
    row = await (await connection.execute(NEWEST)).fetchone()
    return dict(row[1]) if row else None


async def find(connection: Connection, organization: str, version: str) -> dict[str, Any] | None:
    """Return one book of an organization, or of everyone."""
    cursor = await connection.execute(
        "SELECT document FROM price_books WHERE organization = %s AND version = %s", (organization, version)
    )
    row = await cursor.fetchone()
    return dict(row[0]) if row else None


async def add(connection: Connection, organization: str, version: str, document: dict[str, Any]) -> bool:
    """Keep a book; put it in force for the organization, or for everyone. Return whether it is new."""
    added = await connection.execute(INSERT, (organization, version, Jsonb(document)))
    if organization != EVERYONE:
        await connection.execute(
            "UPDATE organizations SET price_version = %s WHERE organization = %s", (version, organization)
        )
    return bool(added.rowcount)
