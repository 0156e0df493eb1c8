"""Which process does what only one should do at a time? The one that holds its advisory lock on the database."""

from __future__ import annotations

from enum import IntEnum

from .connections import Connection, first

# The first half of our locks' keys ("gate" in ASCII); PostgreSQL keeps keys of two halves apart from those of one.
OURS = 0x6761_7465


class Turn(IntEnum):
    """What processes take turns at."""

    BURN_RATE = 1
    BREAKER = 2
    VERIFICATION = 3


async def take(connection: Connection, turn: Turn) -> bool:
    """Take the turn until the transaction ends, unless another process has it; never wait."""
    cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", (OURS, turn.value))
    return bool(first(await cursor.fetchone()))


async def keep(connection: Connection, turn: Turn) -> bool:
    """Take the turn until the connection is closed, unless another process has it; never wait."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (OURS, turn.value))
    return bool(first(await cursor.fetchone()))
