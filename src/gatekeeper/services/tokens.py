"""How does somebody get a token, and how does it end? Every change is in the audit trail, written with it."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.domain import tokens
from gatekeeper.domain.access import SYSTEM, Actor, Role
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditKey
from gatekeeper.domain.errors import InvalidField, TokenNotFound
from gatekeeper.domain.names import check_reason
from gatekeeper.domain.tokens import NewToken, Token
from gatekeeper.storage import audit
from gatekeeper.storage import tokens as storage
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import Connection, Pool, wrap_errors
from gatekeeper.storage.tokens import Position

from .token_file import read_secret, write_secret

# Tokens of an organization, those of the last thirty days among them: each is in the memory of every server.
TOKENS_MAX = 10_000
FIRST = NewToken(name="operator", role=Role.OPERATOR, reason="no operator's token was in force")
EXPIRED = "it had expired, and its name or identity was given anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstToken:
    """Where the first operator's token is; `is_new` where it was made now, else some operator's token is in force."""

    path: Path
    is_new: bool


async def create(pool: Pool, new: NewToken, actor: Actor, key: AuditKey) -> tuple[Token, str]:
    """Make a token; return it with its secret, which is kept nowhere. An identity has none: its secret is empty.

    Raises `TokenExists` or `InvalidField`.
    """
    tokens.check(new)
    secret = "" if new.identity else _new_secret()
    async with _changing(pool) as connection:
        tokens.check_expiry(new.expires_at, await database_now(connection))
        # An operator is the way out where somebody else has used them up.
        is_bound = actor.caller.role is not Role.OPERATOR
        if is_bound and await storage.count(connection, new.organization) >= TOKENS_MAX:
            raise InvalidField(
                field="organization", problem=f"has {TOKENS_MAX:,} tokens; revoke some, and wait 30 days"
            )
        return await _add(connection, new, secret, actor, key), secret


async def revoke(
    pool: Pool, organization: str | None, token: str, actor: Actor, key: AuditKey, *, reason: str = ""
) -> Token:
    """End a token of an organization (empty: an operator's; None: whosever it is), by its name or id; return it.

    Raises `TokenNotFound`, or `InvalidField` where several have it.
    """
    check_reason(reason)
    async with _changing(pool) as connection:
        if organization is None:
            organization = await _owner(connection, token)
        revoked = await storage.revoke(connection, organization, token)
        if revoked is None:
            raise TokenNotFound(token=token)
        await _write_revoked(connection, revoked, actor, key, reason)
    return revoked


async def list_tokens(pool: Pool, organization: str | None, after: Position | None, limit: int) -> list[Token]:
    """Return tokens of an organization (empty: operators'; None: all), those in force first, then the newest first."""
    with wrap_errors():
        async with pool.connection() as connection:
            return await storage.list_tokens(connection, organization, after, limit)


def position(token: Token) -> Position:
    """Return the place of a token in a list: what comes `after` it is on the next page."""
    return Position(token.in_force, token.created_at, token.token_id)


async def ensure_operator(
    pool: Pool, path: Path, actor: Actor, key: AuditKey, *, keeps_foreign: bool = False
) -> FirstToken:
    """Make an operator's token unless one is in force, and put it in the file `path`, over whatever is there.

    The file comes before the row: what was written for nothing opens nothing. Of several processes, one makes it.
    With `keeps_foreign`, a file that is not known to hold an operator's token of this database stays.
    Raises `InvalidField` where the file cannot be written.
    """
    with wrap_errors():
        async with pool.connection() as connection:
            if await storage.is_operator_in_force(connection):
                return FirstToken(path=path, is_new=False)
    async with _changing(pool) as connection:
        is_new = not await storage.is_operator_in_force(connection)
        if is_new:
            if keeps_foreign:
                await _require_no_foreign(connection, path)
            secret = _new_secret()
            await asyncio.to_thread(write_secret, path, secret)
            await _add(connection, FIRST, secret, actor, key)
    return FirstToken(path=path, is_new=is_new)


async def _require_no_foreign(connection: Connection, path: Path) -> None:
    """Refuse to write over a token that may open another installation."""
    there = await asyncio.to_thread(read_secret, path)
    if there is not None and not await storage.is_known(connection, tokens.digest_of_secret(there)):
        problem = f"{path} holds a token of another database; name another file with GATEKEEPER_OPERATOR_TOKEN_FILE"
        raise InvalidField(field="operator_token_file", problem=problem)


@asynccontextmanager
async def _changing(pool: Pool) -> AsyncIterator[Connection]:
    """Yield a connection with a transaction in which nobody else changes tokens."""
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            await storage.lock(connection)
            yield connection


def _new_secret() -> str:
    return tokens.TOKEN_PREFIX + secrets.token_urlsafe(tokens.SECRET_BYTES)


async def _add(connection: Connection, new: NewToken, secret: str, actor: Actor, key: AuditKey) -> Token:
    digest = tokens.digest_of_identity(new.identity) if new.identity else tokens.digest_of_secret(secret)
    for expired in await storage.retire(connection, new.organization, new.name, digest):
        await _write_revoked(connection, expired, SYSTEM, key, EXPIRED)
    token = await storage.add(connection, new, str(uuid.uuid4()), digest, actor.caller.name)
    event = AuditEvent(
        action=AuditAction.TOKEN_CREATED,
        actor=actor,
        subject=tokens.subject(token),
        occurred_at=token.created_at,
        after=tokens.content(token),
        reason=new.reason,
    )
    await audit.write_event(connection, token.organization, event, key)
    return token


async def _write_revoked(connection: Connection, revoked: Token, actor: Actor, key: AuditKey, reason: str) -> None:
    assert revoked.revoked_at is not None
    event = AuditEvent(
        action=AuditAction.TOKEN_REVOKED,
        actor=actor,
        subject=tokens.subject(revoked),
        occurred_at=revoked.revoked_at,
        before=tokens.content(revoked),
        reason=reason,
    )
    await audit.write_event(connection, revoked.organization, event, key)


async def _owner(connection: Connection, token: str) -> str:
    owners = await storage.owners(connection, token)
    if not owners:
        raise TokenNotFound(token=token)
    if len(owners) > 1:
        raise InvalidField(field="organization", problem=f"is needed: several have a token {token!r}")
    return owners[0]
