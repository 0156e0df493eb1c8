"""How are tokens read and changed? By digest and revision for those who check calls, by name for those who manage them.

Whoever changes a token locks the one row of `token_revisions` first, which the trigger on `tokens` would lock anyway:
changes come one after another, and never wait for each other crosswise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg

from gatekeeper.domain.access import Role
from gatekeeper.domain.budget import Scope, ScopeKind
from gatekeeper.domain.errors import TokenExists
from gatekeeper.domain.tokens import NewToken, Token

from .connections import Connection, first

# Tokens in one step of a read: some milliseconds between looks at other work.
CHANGES_PAGE = 500
# For how long whoever comes with a token that has ended is told so. Later it is one that nobody knows.
ENDED_KEPT = timedelta(days=30)
NAME_INDEX, DIGEST_INDEX = "tokens_name_idx", "tokens_digest_idx"

# The driver has no word for an instant that never comes.
COLUMNS = """
t.organization, t.token_id, t.name, t.role, t.scope_kind, t.scope_id, t.identity, t.created_at, t.created_by,
    nullif(t.expires_at, 'infinity'), t.revoked_at, t.revision,
    t.revoked_at IS NULL AND coalesce(t.expires_at > clock_timestamp(), true) AS in_force
"""
# By the primary key.
LAST_USE = """
(SELECT u.last_used_at FROM token_uses u WHERE u.organization = t.organization AND u.token_id = t.token_id)
"""

# Reads the clock, the newest revision, and tokens that have changed since a revision: by the index on it, without a
# lock. All of one snapshot: whatever has a revision up to the newest is in it, because revisions grow in the order of
# commits. A first read leaves out what ended long ago; later ones must not, since it may be known as one in force.
CHANGES = f"""
SELECT clock_timestamp(), pg_postmaster_start_time(), r.revision, t.digest, {COLUMNS}
FROM token_revisions r LEFT JOIN LATERAL (
    SELECT * FROM tokens
    WHERE revision > %(since)s
        AND (%(ended_too)s OR coalesce(least(revoked_at, expires_at) > clock_timestamp() - %(kept)s, true))
    ORDER BY revision LIMIT %(limit)s
) t ON true
ORDER BY t.revision
"""

# Locks the only row, as the trigger does. Released at the end of the transaction.
LOCK = "SELECT revision FROM token_revisions FOR NO KEY UPDATE"

# Adds a token. Its unique indexes refuse a name, secret or identity that is in force.
INSERT = f"""
INSERT INTO tokens AS t
    (organization, token_id, name, role, scope_kind, scope_id, identity, digest, created_at, created_by, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp(), %s, %s)
RETURNING {COLUMNS}, NULL
"""

# Counts tokens in force, and those that ended not long ago, by the primary key's first column.
COUNT = """
SELECT count(*) FROM tokens
WHERE organization = %s AND coalesce(least(revoked_at, expires_at) > clock_timestamp() - %s, true)
"""

# Ends tokens that have expired, and still keep their name or identity from a new one: by the two unique indexes.
# Locks their rows.
RETIRE = f"""
UPDATE tokens AS t SET revoked_at = clock_timestamp()
WHERE t.revoked_at IS NULL AND t.expires_at <= clock_timestamp()
    AND (t.organization = %s AND t.name = %s OR t.digest = %s)
RETURNING {COLUMNS}, {LAST_USE}
"""

# Ends a token, an id before a name that reads the same: by the primary key's first column. Locks its row.
REVOKE = f"""
UPDATE tokens AS t SET revoked_at = clock_timestamp()
WHERE t.organization = %(organization)s AND t.revoked_at IS NULL AND t.token_id = (
    SELECT token_id FROM tokens
    WHERE organization = %(organization)s AND revoked_at IS NULL AND %(token)s IN (token_id, name)
    ORDER BY token_id = %(token)s DESC LIMIT 1
)
RETURNING {COLUMNS}, {LAST_USE}
"""

# Reads whose token of a name or id there is. Through the whole table: only the command line asks, for people.
OWNERS = "SELECT DISTINCT organization FROM tokens WHERE revoked_at IS NULL AND %(token)s IN (token_id, name) LIMIT 2"

# Reads tokens, those in force first, then the newest first, behind a position: by the primary key's first column, or
# all. A token that ends between two pages may be on both; none is left out.
LIST = f"""
SELECT * FROM (
    SELECT {COLUMNS}, {LAST_USE} FROM tokens t WHERE %(organization)s::text IS NULL OR organization = %(organization)s
) t
WHERE %(after)s::text IS NULL
    OR (in_force, created_at, token_id) < (%(in_force)s::boolean, %(created_at)s::timestamptz, %(after)s)
ORDER BY in_force DESC, created_at DESC, token_id DESC
LIMIT %(limit)s
"""

# Looks for an operator's token, by the primary key's first column.
OPERATOR_IN_FORCE = """
SELECT EXISTS (
    SELECT FROM tokens
    WHERE organization = '' AND revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)
)
"""

# Writes when tokens were last used, by the primary key. Locks rows in one order, because several processes do this.
UPSERT_USES = """
INSERT INTO token_uses (organization, token_id, last_used_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS used(organization, token_id, at) ORDER BY 1, 2
ON CONFLICT (organization, token_id) DO UPDATE SET
    last_used_at = greatest(token_uses.last_used_at, excluded.last_used_at)
"""


class Position(NamedTuple):
    """Where a page of tokens ended."""

    in_force: bool
    created_at: datetime
    token_id: str


class Changes(NamedTuple):
    """Tokens with their digests, in the order of their revisions; the newest revision, and the time of the read.

    `server_started_at` tells one database server from another, and from itself after a restart.
    """

    now: datetime
    server_started_at: datetime
    revision: int
    tokens: list[tuple[bytes, Token]]


async def read_changes(connection: Connection, since: int, *, ended_too: bool) -> Changes:
    """Return at most CHANGES_PAGE tokens of a higher revision than `since`."""
    parameters = {"since": since, "ended_too": ended_too, "kept": ENDED_KEPT, "limit": CHANGES_PAGE}
    found = await (await connection.execute(CHANGES, parameters)).fetchall()
    now, server_started_at, revision, *_ = found[0]
    tokens = [(digest, _token(columns)) for _, _, _, digest, *columns in found if digest is not None]
    return Changes(now=now, server_started_at=server_started_at, revision=revision, tokens=tokens)


async def lock(connection: Connection) -> None:
    """Keep others from changing tokens until the transaction ends."""
    await connection.execute(LOCK)


async def add(connection: Connection, new: NewToken, token_id: str, digest: bytes, created_by: str) -> Token:
    """Add a token. Raises `TokenExists` where its name or identity is taken."""
    kind, scope_id = new.scope or (None, None)
    values = (
        new.organization,
        token_id,
        new.name,
        new.role,
        kind,
        scope_id,
        new.identity,
        digest,
        created_by,
        new.expires_at,
    )
    try:
        cursor = await connection.execute(INSERT, values)
    except psycopg.errors.UniqueViolation as error:
        taken = {NAME_INDEX: new.name, DIGEST_INDEX: new.identity}.get(error.diag.constraint_name or "")
        if not taken:
            raise
        raise TokenExists(token=taken) from error
    return _token(await cursor.fetchone() or ())


async def count(connection: Connection, organization: str) -> int:
    """Return how many tokens of an organization every server keeps in memory."""
    return int(first(await (await connection.execute(COUNT, (organization, ENDED_KEPT))).fetchone()))


async def retire(connection: Connection, organization: str, name: str, digest: bytes) -> list[Token]:
    """End expired tokens of this name or digest; return them."""
    return _tokens(await (await connection.execute(RETIRE, (organization, name, digest))).fetchall())


async def revoke(connection: Connection, organization: str, token: str) -> Token | None:
    """End the token of this id or name, and return it; None where there is none to end."""
    cursor = await connection.execute(REVOKE, {"organization": organization, "token": token})
    row = await cursor.fetchone()
    return None if row is None else _token(row)


async def owners(connection: Connection, token: str) -> list[str]:
    """Return up to two organizations that have a token of this id or name."""
    return [row[0] for row in await (await connection.execute(OWNERS, {"token": token})).fetchall()]


async def list_tokens(
    connection: Connection, organization: str | None, after: Position | None, limit: int
) -> list[Token]:
    """Return tokens of an organization (None: of all) behind a position."""
    in_force, created_at, token_id = after or (None, None, None)
    parameters = {
        "organization": organization,
        "in_force": in_force,
        "created_at": created_at,
        "after": token_id,
        "limit": limit,
    }
    return _tokens(await (await connection.execute(LIST, parameters)).fetchall())


async def is_operator_in_force(connection: Connection) -> bool:
    """Tell whether any operator can call."""
    return bool(first(await (await connection.execute(OPERATOR_IN_FORCE)).fetchone()))


async def is_known(connection: Connection, digest: bytes) -> bool:
    """Tell whether there is or was an operator's token of this digest, by the primary key's first column."""
    sql = "SELECT FROM tokens WHERE organization = '' AND digest = %s"
    return await (await connection.execute(sql, (digest,))).fetchone() is not None


async def write_uses(connection: Connection, uses: Iterable[tuple[str, str, datetime]]) -> None:
    """Write when tokens, by organization and id, were last used, unless they were used later already."""
    columns = [list(column) for column in zip(*uses, strict=True)]
    await connection.execute(UPSERT_USES, columns)


def _tokens(found: Iterable[Sequence[Any]]) -> list[Token]:
    return [_token(row) for row in found]


def _token(row: Sequence[Any]) -> Token:
    (organization, token_id, name, role, kind, scope_id, identity, created_at, created_by, expires_at, revoked_at,
     revision, in_force, *last_used_at) = row  # fmt: skip
    return Token(
        organization=organization,
        token_id=token_id,
        name=name,
        role=Role(role),
        scope=None if kind is None else Scope(ScopeKind(kind), scope_id),
        identity=identity,
        created_at=created_at,
        created_by=created_by,
        expires_at=expires_at,
        revoked_at=revoked_at,
        revision=revision,
        in_force=in_force,
        last_used_at=last_used_at[0] if last_used_at else None,
    )
