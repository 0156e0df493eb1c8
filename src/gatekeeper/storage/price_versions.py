"""Which versions of its own price book has an organization had?"""

from __future__ import annotations

from .connections import Connection

# By the primary key's first column.
VERSIONS = "SELECT version FROM price_books WHERE organization = %s"


async def versions(connection: Connection, organization: str) -> set[str]:
    """Return the versions of an organization's own book, in force or not."""
    cursor = await connection.execute(VERSIONS, (organization,))
    return {row[0] for row in await cursor.fetchall()}
