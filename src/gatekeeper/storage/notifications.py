"""How do the processes on one database hear of something at once? By PostgreSQL's LISTEN and NOTIFY.

A notification is no promise: who does not listen at the moment never hears it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from .connections import Connection

# PostgreSQL takes payloads below 8,000 bytes.
PAYLOAD_BYTES_MAX = 7_900

# Sends payloads to whoever listens, when it commits. Until then it holds the lock that puts notifications in order: no
# transaction of the hot path may do so.
NOTIFY = "SELECT pg_notify('gatekeeper_changes', payload) FROM unnest(%s::text[]) AS payload"
LISTEN = "LISTEN gatekeeper_changes"


async def notify(connection: Connection, payloads: Sequence[str]) -> None:
    """Send payloads of at most PAYLOAD_BYTES_MAX bytes."""
    await connection.execute(NOTIFY, (list(payloads),))


async def listen(connection: Connection) -> None:
    """Hear from now on what is sent."""
    await connection.execute(LISTEN)


async def payloads(connection: Connection) -> AsyncIterator[str]:
    """Yield what comes on a connection that listens, for as long as it lasts."""
    async for notification in connection.notifies():
        yield notification.payload
