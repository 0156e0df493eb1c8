"""How do audit events and denials get their links, behind the hot path?

Every process runs this. For each organization one of them at a time holds the lock on the chain's head and appends
links for the rows that have none; the others pass by and do not wait.

Which rows have none? Those with higher numbers than the last one that is chained: two probes of an index, however long
the tables are, and nothing that a restart could forget. That holds because no number is ever left behind. A row may be
committed later than one with a higher number, so a pass goes this way:

1. It notes the newest unchained row that it sees, for each organization and table. Whoever took a lower number than
   that one did so before now.
2. It asks PostgreSQL who holds the lock that an INSERT into these tables takes first and keeps to the end of its
   transaction, and waits until all of them have ended: milliseconds, with the hot path's batches. Meanwhile, others may
   come and go; they are not waited for, because they got higher numbers. Should one last longer, the pass gives up, and
   the next one tries again.
3. Now every number up to the noted ones is there or never will be. The rows between the last chained one and the noted
   one are chained, in the order of their time, in transactions of some hundred links.

A row whose seal does not fit is not chained, but told in the log, and by `gatekeeper verify --audit`. One that was
sealed with another key is, and is told in the log: nobody here can tell, and whoever has that key can. So is one that
was sealed without a key while we have one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
import structlog

from gatekeeper.domain.audit import AuditKey, AuditSource, link
from gatekeeper.storage import audit_chain as storage
from gatekeeper.storage.audit_chain import Ends, Head, Unchained
from gatekeeper.storage.connections import Connection, Pool, is_lost, wrap_errors

from .audit_seals import Seals, SealState
from .repetition import repeat

log = structlog.get_logger(__name__)

# Rows of each table that one transaction chains: enough that its own cost does not matter, some 50 ms of work.
ROWS_MAX = 1000
# Transactions for one organization before the next one's turn.
ROUNDS_MAX = 8
# Rows between two looks at what else the event loop has to do, a millisecond or two.
CHUNK = 32
# How long a pass waits for transactions that may yet commit lower numbers, and how often it looks.
WRITERS_PATIENCE_S = 2.0
WRITERS_POLL_S = 0.01
# Looking for unchained rows may take this part of the time; with very many organizations it is done less often.
FINDING_SHARE = 0.1
# What is chained, but not without a word.
SUSPECT = {SealState.FOREIGN: "audit.sealed_with_another_key", SealState.KEYLESS: "audit.seal_keyless"}
# What is not chained, and how many such rows one line of the log names.
REFUSED = frozenset({SealState.WRONG, SealState.MISSING})
IDS_TOLD = 10

# What is told of rows once they are chained.
OnChained = Callable[[Sequence[Unchained]], Awaitable[None]]


async def chain(pool: Pool, key: AuditKey, on_chained: OnChained) -> int:
    """Append links for the rows that wait, as many as one pass may; return how many it were.

    `on_chained` is told of them by the process that chained them. Raises `DatabaseUnavailable`.
    """
    return await AuditChain(pool, key, on_chained).extend()


async def chain_forever(pool: Pool, key: AuditKey, on_chained: OnChained, interval_s: float) -> None:
    """Chain at every interval, and at once again while there is more than one pass appends."""
    chains = AuditChain(pool, key, on_chained)

    def pause_s(appended: int) -> float:
        return max(interval_s, chains.finding_s / FINDING_SHARE) if appended < ROWS_MAX else 0

    await repeat("audit.chain_failed", chains.extend, pause_s)


class AuditChain:
    """Extends the chains of all organizations.

    `finding_s` is how long the last pass looked for rows.
    """

    def __init__(self, pool: Pool, key: AuditKey, on_chained: OnChained) -> None:
        """Chain by this pool, one connection at a time."""
        self.finding_s = 0.0
        self._pool = pool
        self._seals = Seals(key)
        self._on_chained = on_chained
        # The last row that was looked at, where some were refused: they are told once, and not looked at again.
        self._refused: dict[tuple[str, AuditSource], int] = {}

    async def extend(self) -> int:
        """Make one pass; return how many links it appended. Raises `DatabaseUnavailable`."""
        appended = 0
        with wrap_errors():
            async with self._pool.connection() as connection:
                waiting = await self._find(connection)
                if not waiting or not await _writers_end(connection):
                    return 0
                for organization, ends in waiting.items():
                    appended += await self._extend(connection, organization, ends)
        return appended

    async def _find(self, connection: Connection) -> dict[str, Ends]:
        begun = time.monotonic()
        found = await storage.find_unchained(connection)
        self.finding_s = time.monotonic() - begun
        # A database that was restored or failed over gives its numbers out again.
        self._refused = {
            (organization, source): last
            for (organization, source), last in self._refused.items()
            if last <= found.get(organization, {}).get(source, 0)
        }
        return {
            organization: ends
            for organization, ends in found.items()
            if any(end > self._refused.get((organization, source), 0) for source, end in ends.items())
        }

    async def _extend(self, connection: Connection, organization: str, ends: Ends) -> int:
        """Chain an organization's rows up to `ends`; what goes wrong with one does not stop the others."""
        appended = 0
        try:
            await storage.open_head(connection, organization)
            for _ in range(ROUNDS_MAX):
                links = await self._round(connection, organization, ends)
                appended += links
                if not links:
                    break
        except psycopg.Error as error:
            if is_lost(error):
                raise
            log.exception("audit.chain_failed", organization=organization)
        return appended

    async def _round(self, connection: Connection, organization: str, ends: Ends) -> int:
        """Append links in one transaction; return how many."""
        async with connection.transaction():
            head = await storage.lock_head(connection, organization)
            if head is None:
                return 0
            found = [row for source in ends for row in await self._read(connection, organization, source, ends[source])]
            chained = sorted((row for row, state in found if state not in REFUSED), key=_order)
            if chained:
                await storage.append(connection, organization, head, _links(head, chained))
        self._tell(organization, found)
        if chained:
            await self._on_chained(chained)
        return len(chained)

    async def _read(
        self, connection: Connection, organization: str, source: AuditSource, end: int
    ) -> list[tuple[Unchained, SealState]]:
        """Return rows that wait, each with what is known of its seal."""
        behind = self._refused.get((organization, source), 0)
        found: list[tuple[Unchained, SealState]] = []
        chunks = storage.read_unchained(
            connection, organization, source, behind=behind, end=end, limit=ROWS_MAX, size=CHUNK
        )
        async for chunk in chunks:
            found += [(row, self._seals.state(row.content, row.seal)) for row in chunk]
            await asyncio.sleep(0)
        return found

    def _tell(self, organization: str, found: Sequence[tuple[Unchained, SealState]]) -> None:
        """Log what is wrong, and remember to pass it by."""
        for source in AuditSource:
            for state, event in SUSPECT.items():
                if suspect := [row.source_id for row, its in found if row.source is source and its is state]:
                    log.warning(event, **_place(organization, source, suspect))
            if refused := [row.source_id for row, its in found if row.source is source and its in REFUSED]:
                log.error("audit.seal_wrong", **_place(organization, source, refused))
                self._refused[organization, source] = max(row.source_id for row, _ in found if row.source is source)


def _place(organization: str, source: AuditSource, ids: Sequence[int]) -> dict[str, Any]:
    return {"organization": organization, "source": source.value, "ids": ids[:IDS_TOLD], "count": len(ids)}


def _order(row: Unchained) -> tuple[str, AuditSource, int]:
    return row.order


def _links(head: Head, chained: Sequence[Unchained]) -> list[tuple[AuditSource, int, bytes]]:
    previous = head.link
    links: list[tuple[AuditSource, int, bytes]] = []
    for sequence, row in enumerate(chained, head.sequence + 1):
        assert row.seal is not None
        previous = link(previous, sequence, row.source, row.source_id, row.seal)
        links.append((row.source, row.source_id, previous))
    return links


async def _writers_end(connection: Connection) -> bool:
    """Wait until whoever may have taken a lower number than the noted ones has ended; False: it takes too long."""
    waited_for = await storage.writers(connection)
    deadline = time.monotonic() + WRITERS_PATIENCE_S
    while waited_for and time.monotonic() < deadline:
        await asyncio.sleep(WRITERS_POLL_S)
        waited_for &= await storage.writers(connection)
    if waited_for:
        log.warning("audit.chain_waits", transactions=sorted(waited_for))
    return not waited_for
