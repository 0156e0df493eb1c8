"""What is this installation called, on all of its servers and for good?"""

from __future__ import annotations

import uuid

from .connections import Connection

# Reads the table's only row, which came with the migration.
READ = "SELECT installation_id FROM installation"


async def read_installation_id(connection: Connection) -> uuid.UUID:
    """Return the id that was made with the tables."""
    row = await (await connection.execute(READ)).fetchone()
    assert row is not None
    installation_id: uuid.UUID = row[0]
    return installation_id
