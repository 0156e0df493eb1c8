"""How do tests of tokens work on a database? By the services, as the role that servers have, and by SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from gatekeeper.domain.access import Actor, Caller, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.tokens import NewToken, Token
from gatekeeper.services import tokens
from gatekeeper.storage.connections import Pool, open_pool
from tests.conftest import served_url

T = TypeVar("T")

ALICE = Actor(Caller(caller_id="a-1", name="alice", role=Role.ADMIN, organization="acme"), "ipv4:10.0.0.7:4711")
KEY = AuditKey(b"secret")
EVENTS = (
    "SELECT organization, action, actor, peer, subject, before, after, reason FROM audit_events"
    " WHERE starts_with(action, 'TOKEN') ORDER BY event_id"
)
EXPIRE = "UPDATE tokens SET expires_at = now() - interval '1 second' WHERE name = %s"


class Ledger:
    """A database, by its services in the role that servers have, and by SQL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def run(self, use: Callable[[Pool], Awaitable[T]]) -> T:
        """Use the services."""

        async def run() -> T:
            async with open_pool(served_url(self.url), name="test", size_max=1, hot=False) as pool:
                return await use(pool)

        return asyncio.run(run())

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute a statement as a superuser."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def create(
        self, name: str, role: Role = Role.AGENT, organization: str = "acme", **fields: Any
    ) -> tuple[Token, str]:
        """Make a token."""
        new = NewToken(name=name, role=role, organization=organization, **fields)
        return self.run(lambda pool: tokens.create(pool, new, ALICE, KEY))

    def revoke(self, token: str, organization: str | None = "acme") -> Token:
        """End a token."""
        return self.run(lambda pool: tokens.revoke(pool, organization, token, ALICE, KEY, reason="left"))

    def names(self, organization: str | None = "acme", size: int = 100) -> list[list[str]]:
        """List the names of tokens, in pages of a size."""

        async def pages(pool: Pool) -> list[list[str]]:
            found, after = [], None
            while page := await tokens.list_tokens(pool, organization, after, size):
                found.append([token.name for token in page])
                after = tokens.position(page[-1])
            return found

        return self.run(pages)

    def ensure_operator(self, path: Path, *, keeps_foreign: bool = False) -> bool:
        """Make the first operator's token; tell whether there was none."""
        return self.run(lambda pool: tokens.ensure_operator(pool, path, ALICE, KEY, keeps_foreign=keeps_foreign)).is_new
