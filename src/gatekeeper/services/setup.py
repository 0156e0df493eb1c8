"""How does a database become one that the server can use?"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg

from gatekeeper.domain.access import SYSTEM, Actor
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditKey
from gatekeeper.storage import audit, books, grants, price_books, roles, schema
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, Connection, wrap_errors

from .price_snapshot import snapshot, snapshot_version

PASSWORD_BYTES = 32


async def is_ready(database_url: str) -> bool:
    """Tell whether the database has the schema and the price book of this version."""
    with wrap_errors():
        connection = await psycopg.AsyncConnection.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S)
        async with connection:
            if await schema.current_revision(connection) != schema.REVISION:
                return False
            return await price_books.find(connection, price_books.EVERYONE, snapshot_version()) is not None


async def prepare(
    database_url: str, *, server_role: str | None = None, actor: Actor = SYSTEM, key: AuditKey | None = None
) -> None:
    """Bring the schema up to date, put the price book of this version in force, and let a role serve.

    The audit trail keeps the new prices as set by `actor`, sealed with `key` (None: without a secret).
    Raises `RoleError` where the role cannot serve; nothing is changed then.
    """
    if server_role is not None:
        await _require_grantable(database_url, server_role)
    document = asyncio.create_task(asyncio.to_thread(snapshot))
    await asyncio.to_thread(schema.migrate, database_url)
    with wrap_errors():
        connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
        async with connection:
            await _put_in_force(connection, await document, actor, key or AuditKey())
            if server_role is not None:
                await grants.grant(connection, server_role)


async def _put_in_force(connection: Connection, document: dict[str, Any], actor: Actor, key: AuditKey) -> None:
    """Put a price book in force for everyone, and write down that it is."""
    async with connection.transaction():
        before = await price_books.newest_version(connection)
        if not await price_books.add(connection, price_books.EVERYONE, snapshot_version(), document):
            return
        event = AuditEvent(
            action=AuditAction.PRICE_SET,
            actor=actor,
            subject="prices for everyone",
            occurred_at=await books.database_now(connection),
            before=None if before is None else {"price_version": before},
            after={"price_version": snapshot_version()},
        )
        await audit.write_event(connection, price_books.EVERYONE, event, key)


async def _require_grantable(database_url: str, role: str) -> None:
    with wrap_errors():
        connection = await psycopg.AsyncConnection.connect(database_url, connect_timeout=CONNECT_TIMEOUT_S)
        async with connection:
            await grants.require_grantable(connection, role)


async def server_url(owner_url: str, role: str = grants.SERVER_ROLE) -> str:
    """Return the owner's URL for the server's role instead, which is made where it is missing.

    Its password is new each time, kept nowhere, and ends the one before: there is one such server at a time.
    """
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    with wrap_errors():
        connection = await psycopg.AsyncConnection.connect(
            owner_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        )
        async with connection:
            await roles.renew(connection, role, password)
            if await grants.privileges_of(connection, role) != grants.WANTED:
                await grants.grant(connection, role)
    parts = urlsplit(owner_url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role, safe='')}:{password}@{place}"))


async def require_usable(connection: Connection) -> None:
    """Raise `SchemaError` for a schema that is not this version's, and `RoleError` for a role that may not serve."""
    with wrap_errors():
        # Who may not even read the revision is told what else it may not.
        with suppress(psycopg.errors.InsufficientPrivilege):
            await schema.require_current(connection)
        if lacking := await grants.lacking(connection):
            role = await roles.session_role(connection)
            hint = f"run `gatekeeper migrate --grant {roles.quoted(role)}` with the URL of the tables' owner"
            raise roles.RoleError(role, f"it {'; it '.join(lacking)}; {hint}")


async def role_excess(connection: Connection) -> list[str]:
    """Return what the role of a server's connection may do and should not, in short sentences without a subject."""
    with wrap_errors():
        return await grants.excessive(connection)
