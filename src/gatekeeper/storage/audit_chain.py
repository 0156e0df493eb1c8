"""Which rows of the audit trail are not chained yet, and how are they appended to their organization's chain?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatekeeper.domain.audit import AuditSource, Content, first_link

from . import audit, rows
from .connections import Connection

# Each of these statements goes by an index, also where a table was small when it was planned or has no statistics.
BY_INDEX = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off; SET LOCAL enable_sort = off; SET LOCAL enable_material = off;
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off
"""

# The newest row of each organization, where it is newer than the last one that is chained. Goes from organization to
# organization by the primary key, and probes the ends of two indexes for each: it costs the same whatever the tables
# hold. While nothing is chained, a newest denial without a seal tells that all are older than the trail.
NAMED = """
WITH RECURSIVE named AS (
    SELECT (SELECT min(organization) FROM {table}) AS organization
    UNION ALL
    SELECT (SELECT min(t.organization) FROM {table} t WHERE t.organization > named.organization)
    FROM named WHERE named.organization IS NOT NULL
)
"""
UNCHAINED = (
    NAMED
    + """
SELECT named.organization, newest.id FROM named
CROSS JOIN LATERAL (
    SELECT t.{id} AS id, t.seal FROM {table} t WHERE t.organization = named.organization ORDER BY t.{id} DESC LIMIT 1
) AS newest
CROSS JOIN LATERAL (
    SELECT max(c.source_id) AS id FROM audit_chain c WHERE c.organization = named.organization AND c.source = '{source}'
) AS chained
WHERE newest.id > chained.id OR chained.id IS NULL AND newest.seal IS NOT NULL
"""
)

# The newest seal of a table, and its row's instant, found the same way.
NEWEST_SEAL = (
    NAMED
    + """
SELECT newest.instant, newest.seal FROM named
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM t.{instant})::float8 AS instant, t.seal FROM {table} t
    WHERE t.organization = named.organization ORDER BY t.{id} DESC LIMIT 1
) AS newest
WHERE newest.seal IS NOT NULL ORDER BY newest.instant DESC LIMIT 1
"""
)

# Who may have taken a number in one of the tables and not committed it. An INSERT locks its table before it takes a
# number, and keeps the lock until its transaction ends.
WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation IN ('audit_events'::regclass, 'denials'::regclass)
"""

# Makes a chain without links.
OPEN_HEAD = "INSERT INTO audit_heads (organization, sequence, link) VALUES (%s, 0, %s) ON CONFLICT DO NOTHING"

# Locks a chain by its primary key; nothing is returned while another process has it.
LOCK_HEAD = "SELECT sequence, link FROM audit_heads WHERE organization = %s FOR UPDATE SKIP LOCKED"

# Rows behind the last chained one, by primary key. Where nothing is chained yet, they begin behind the last denial that
# has no seal, which is looked for from the newest backwards: no further than the rows that wait to be chained.
ROWS = """
SELECT t.{id}, t.seal, {content} FROM {table} t
WHERE t.organization = %(organization)s AND t.{id} <= %(end)s AND t.{id} > greatest(%(behind)s::bigint, coalesce(
    (SELECT max(source_id) FROM audit_chain WHERE organization = %(organization)s AND source = '{source}'),
    (SELECT u.{id} FROM {table} u WHERE u.organization = %(organization)s AND u.seal IS NULL
     ORDER BY u.{id} DESC LIMIT 1),
    0))
ORDER BY t.{id} LIMIT %(limit)s
"""

APPEND = """
INSERT INTO audit_chain (organization, sequence, source, source_id, link)
SELECT %s, sequence, source, source_id, decode(link, 'hex')
FROM json_to_recordset(%s) AS r(sequence bigint, source text, source_id bigint, link text)
"""
MOVE_HEAD = "UPDATE audit_heads SET sequence = %s, link = %s WHERE organization = %s"

# When a row was written, by its own account.
OCCURRED = {AuditSource.EVENT: "occurred_at", AuditSource.DENIAL: "denied_at"}

# The newest unchained row of each table, by organization.
Ends = Mapping[AuditSource, int]


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of a chain; `sequence` is 0 while there is none."""

    sequence: int
    link: bytes


@dataclass(frozen=True, slots=True)
class Unchained:
    """A row that waits for its link."""

    source: AuditSource
    source_id: int
    seal: bytes | None
    content: Content

    @property
    def order(self) -> tuple[str, AuditSource, int]:
        """Return what puts rows in the order of a chain."""
        return self.content[OCCURRED[self.source]] or "", self.source, self.source_id


async def find_unchained(connection: Connection) -> dict[str, Ends]:
    """Return the organizations that have rows to chain."""
    found: dict[str, dict[AuditSource, int]] = {}
    async with connection.transaction():
        await connection.execute(BY_INDEX)
        for source in AuditSource:
            cursor = await connection.execute(_of(UNCHAINED, source))
            for organization, newest in await cursor.fetchall():
                found.setdefault(organization, {})[source] = newest
    return dict(found)


async def newest_seal(connection: Connection) -> bytes | None:
    """Return the seal of the newest row that has one, whosever it is."""
    found: list[tuple[float, bytes]] = []
    async with connection.transaction():
        await connection.execute(BY_INDEX)
        for source in AuditSource:
            cursor = await connection.execute(_of(NEWEST_SEAL, source))
            found += await cursor.fetchall()
    return max(found)[1] if found else None


async def writers(connection: Connection) -> set[str]:
    """Return the transactions that may yet commit rows with numbers that are taken already."""
    cursor = await connection.execute(WRITERS)
    return {row[0] for row in await cursor.fetchall()}


async def open_head(connection: Connection, organization: str) -> None:
    """Make an organization's chain, unless there is one."""
    await connection.execute(OPEN_HEAD, (organization, first_link(organization)))


async def lock_head(connection: Connection, organization: str) -> Head | None:
    """Lock an organization's chain until the transaction ends; None: somebody else is at it."""
    await connection.execute(BY_INDEX)
    cursor = await connection.execute(LOCK_HEAD, (organization,))
    row = await cursor.fetchone()
    return Head(row[0], row[1]) if row else None


async def read_unchained(
    connection: Connection, organization: str, source: AuditSource, *, behind: int, end: int, limit: int, size: int
) -> AsyncIterator[list[Unchained]]:
    """Yield the first rows that wait, behind number `behind` up to `end`, at most `limit`, `size` at a time."""
    parameters = {"organization": organization, "behind": behind, "end": end, "limit": limit}
    cursor = await connection.execute(_of(ROWS, source), parameters)
    while found := await cursor.fetchmany(size):
        yield [_unchained(source, row) for row in found]


async def append(
    connection: Connection, organization: str, head: Head, links: Sequence[tuple[AuditSource, int, bytes]]
) -> Head:
    """Append (source, number of the row, link) behind a head, which the transaction has locked; return the new head."""
    records = [
        {"sequence": sequence, "source": source, "source_id": source_id, "link": link.hex()}
        for sequence, (source, source_id, link) in enumerate(links, head.sequence + 1)
    ]
    await connection.execute(APPEND, (organization, rows.as_json(records)))
    last = Head(head.sequence + len(links), links[-1][-1])
    await connection.execute(MOVE_HEAD, (last.sequence, last.link, organization))
    return last


def _unchained(source: AuditSource, row: Sequence[Any]) -> Unchained:
    source_id, seal, *columns = row
    return Unchained(source, source_id, seal, audit.content(source, columns))


def _of(statement: str, source: AuditSource) -> str:
    return statement.format(
        table=audit.TABLES[source],
        id=audit.IDS[source],
        source=source,
        instant=OCCURRED[source],
        content=audit.content_columns(source, "t") if "{content}" in statement else "",
    )
