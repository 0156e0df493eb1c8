"""What does verification of the audit trail read? Chains with the rows that they are about, and rows without a link.

All of it in one read-only snapshot, in the order of an index, by cursors that hold some rows at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gatekeeper.domain.audit import AuditSource, Content

from . import audit
from .audit_chain import BY_INDEX, Head
from .connections import Connection

# Rows that a cursor brings at a time.
ROWS_TOGETHER = 1000

BEGIN = f"""
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; {BY_INDEX}
"""

# Who has a trail. From organization to organization, as in `audit_chain`.
ORGANIZATIONS = (
    "WITH RECURSIVE "
    + ", ".join(
        f"""in_{table} AS (
    SELECT (SELECT min(organization) FROM {table}) AS organization
    UNION ALL
    SELECT (SELECT min(t.organization) FROM {table} t WHERE t.organization > n.organization)
    FROM in_{table} n WHERE n.organization IS NOT NULL
)"""
        for table in ("audit_heads", "audit_chain", "audit_events", "denials")
    )
    + """
SELECT organization FROM (
    SELECT organization FROM in_audit_heads UNION SELECT organization FROM in_audit_chain
    UNION SELECT organization FROM in_audit_events UNION SELECT organization FROM in_denials
) AS named
WHERE organization IS NOT NULL AND (%(organization)s::text IS NULL OR organization = %(organization)s)
ORDER BY organization
"""
)

HEADS = "SELECT organization, sequence, link FROM audit_heads"

LINKS_AT = "SELECT sequence, link FROM audit_chain WHERE organization = %s AND sequence = ANY(%s)"

_ROWS = ", ".join(
    f"{table}.{audit.IDS[source]}, {table}.seal, {audit.content_columns(source, table)}"
    for source, table in ((AuditSource.EVENT, "e"), (AuditSource.DENIAL, "d"))
)

# A chain in its order, each link with its row, by primary keys. Asked with an equality, the planner may as well read
# all of an organization's rows by another index for each link, while it takes the organization for a small one; only
# the primary key has them in this order.
LINKS = f"""
SELECT c.sequence, c.source, c.source_id, c.link, {_ROWS}
FROM audit_chain c
LEFT JOIN LATERAL (
    SELECT * FROM audit_events
    WHERE c.source = 'EVENT' AND organization = c.organization AND event_id BETWEEN c.source_id AND c.source_id
    ORDER BY event_id LIMIT 1
) AS e ON true
LEFT JOIN LATERAL (
    SELECT * FROM denials
    WHERE c.source = 'DENIAL' AND organization = c.organization AND denial_id BETWEEN c.source_id AND c.source_id
    ORDER BY denial_id LIMIT 1
) AS d ON true
WHERE c.organization = %s ORDER BY c.sequence
"""

# Rows without a link, each with whether a later one has a link; not those that are older than the first seal.
# Asked as above.
UNCHAINED = """
SELECT t.{id}, t.seal, t.{id} < (
    SELECT max(source_id) FROM audit_chain WHERE organization = %(organization)s AND source = '{source}'), {content}
FROM {table} t
WHERE t.organization = %(organization)s AND (
    SELECT c.sequence FROM audit_chain c
    WHERE c.organization = t.organization AND c.source = '{source}' AND c.source_id BETWEEN t.{id} AND t.{id}
    ORDER BY c.source_id LIMIT 1) IS NULL
  AND (t.seal IS NOT NULL OR t.{id} > (
    SELECT {id} FROM {table} WHERE organization = %(organization)s AND seal IS NOT NULL ORDER BY {id} LIMIT 1))
ORDER BY t.{id}
"""

# Denials that are older than the first seal, by primary key.
OLDER = """
SELECT count(*) FROM denials WHERE organization = %(organization)s AND denial_id < coalesce((
    SELECT denial_id FROM denials WHERE organization = %(organization)s AND seal IS NOT NULL
    ORDER BY denial_id LIMIT 1), 9223372036854775807)
"""


@dataclass(frozen=True, slots=True)
class SealedRow:
    """An audit event or a denial."""

    seal: bytes | None
    content: Content


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a chain, and the row that it is about (None: there is no such row)."""

    sequence: int
    source: str
    source_id: int
    link: bytes
    row: SealedRow | None


@dataclass(frozen=True, slots=True)
class Unchained:
    """A row without a link; `passed_by` when a later one of its table has one."""

    source_id: int
    row: SealedRow
    passed_by: bool


async def list_organizations(connection: Connection, organization: str | None) -> list[str]:
    """Return who has a trail, or the one that was asked for if it has."""
    cursor = await connection.execute(ORGANIZATIONS, {"organization": organization})
    return [row[0] for row in await cursor.fetchall()]


async def read_heads(connection: Connection) -> dict[str, Head]:
    """Return the heads of all chains."""
    cursor = await connection.execute(HEADS)
    return {row[0]: Head(row[1], row[2]) for row in await cursor.fetchall()}


async def read_links_at(connection: Connection, organization: str, sequences: Sequence[int]) -> set[tuple[int, bytes]]:
    """Return those of a chain's links that are there, with their places."""
    cursor = await connection.execute(LINKS_AT, (organization, list(sequences)))
    return {(row[0], row[1]) for row in await cursor.fetchall()}


async def read_links(connection: Connection, organization: str) -> AsyncIterator[Link]:
    """Yield a chain's links in their order."""
    async for row in _stream(connection, LINKS, (organization,)):
        sequence, source, source_id, link, *columns = row
        yield Link(sequence, source, source_id, link, _row_of(source, columns))


async def read_unchained(connection: Connection, organization: str, source: AuditSource) -> AsyncIterator[Unchained]:
    """Yield the rows of a table that have no link, by number."""
    statement = UNCHAINED.format(
        table=audit.TABLES[source],
        id=audit.IDS[source],
        source=source,
        content=audit.content_columns(source, "t"),
    )
    async for row in _stream(connection, statement, {"organization": organization}):
        source_id, seal, passed_by, *columns = row
        yield Unchained(source_id, SealedRow(seal, audit.content(source, columns)), bool(passed_by))


async def count_older(connection: Connection, organization: str) -> int:
    """Return how many denials are older than the trail."""
    cursor = await connection.execute(OLDER, {"organization": organization})
    row = await cursor.fetchone()
    return row[0] if row else 0


async def _stream(connection: Connection, statement: str, parameters: Any) -> AsyncIterator[Sequence[Any]]:
    async with connection.cursor(name="trail") as cursor:
        cursor.itersize = ROWS_TOGETHER
        await cursor.execute(statement, parameters)
        async for row in cursor:
            yield row


def _row_of(named: str, columns: Sequence[Any]) -> SealedRow | None:
    """Return the row of a link, from the columns of both tables."""
    width = 2 + audit.content_width([AuditSource.EVENT])
    with suppress(ValueError):  # a source that nobody knows has no rows
        source = AuditSource(named)
        source_id, seal, *found = columns[:width] if source is AuditSource.EVENT else columns[width:]
        return None if source_id is None else SealedRow(seal, audit.content(source, found))
    return None
