"""What do tests of callers share? Pools of the role that servers have, tokens, and a count of reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from gatekeeper.domain.access import SYSTEM, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import (
    GatekeeperError,
)
from gatekeeper.domain.tokens import NewToken, Token, digest_of_identity, digest_of_secret
from gatekeeper.services import tokens
from gatekeeper.services.callers import Callers
from gatekeeper.storage import tokens as storage
from gatekeeper.storage.connections import Pool, open_pool
from gatekeeper.storage.tokens import Changes

T = TypeVar("T")
Use = Callable[[Pool], Awaitable[T]]

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1"


def use(url: str, test: Use[T]) -> T:
    """Run a test with a pool of the role that servers have."""

    async def run() -> T:
        async with open_pool(url, name="test", size_max=4, hot=False) as pool:
            return await test(pool)

    return asyncio.run(run())


async def make(pool: Pool, name: str = "writer", **fields: Any) -> tuple[Token, bytes]:
    """Make a token; return its digest too."""
    new = NewToken(**({"name": name, "role": Role.AGENT, "organization": "acme"} | fields))
    token, secret = await tokens.create(pool, new, SYSTEM, AuditKey())
    return token, digest_of_secret(secret) if secret else digest_of_identity(token.identity)


async def revoke(pool: Pool, name: str = "writer") -> None:
    """End a token."""
    await tokens.revoke(pool, "acme", name, SYSTEM, AuditKey())


async def outcome(callers: Callers, digest: bytes) -> type[GatekeeperError] | None:
    """Return why nobody was found."""
    try:
        await callers.find(digest)
    except GatekeeperError as error:
        return type(error)
    return None


class Reads:
    """What counts the reads of the database, and when they began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began_s: list[float] = []
        read = storage.read_changes

        async def counted(*arguments: Any, **named: Any) -> Changes:
            self.began_s.append(time.monotonic())
            return await read(*arguments, **named)

        monkeypatch.setattr(storage, "read_changes", counted)
