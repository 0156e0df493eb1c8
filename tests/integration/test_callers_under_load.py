"""What do callers get while the database is away or hangs, or while somebody floods the server with tokens?"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import psycopg
import pytest

from gatekeeper.domain.errors import (
    DatabaseUnavailable,
    GatekeeperError,
    QueueFull,
    TokenInvalid,
)
from gatekeeper.services import callers as service
from gatekeeper.services.callers import Callers
from gatekeeper.storage import connections
from gatekeeper.storage import tokens as storage
from gatekeeper.storage.connections import Pool, open_pool
from gatekeeper.storage.tokens import Changes
from tests.conftest import served_url
from tests.integration.caller_pools import NOWHERE, Reads, make, outcome, use


@pytest.fixture
def url(database_url: str) -> str:
    """Return the URL of the test's database, for the role that servers have."""
    return served_url(database_url)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Count the reads of the database."""
    return Reads(monkeypatch)


def test_knowledge_that_is_too_old_lets_nobody_in(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was known has to be found again; while the database is away, nobody is."""
    monkeypatch.setattr(service, "STALE_AFTER_S", 0)

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        await callers.refresh()
        assert callers.known(digest) is None
        monkeypatch.setattr(service, "STALE_AFTER_S", 60)
        assert await callers.find(digest)
        monkeypatch.setattr(connections, "POOL_TIMEOUT_S", 0.2)
        async with open_pool(NOWHERE, name="nowhere", size_max=1, hot=False) as nowhere:
            callers._pool = nowhere
            assert callers.known(digest)
            callers._stale_s = 0
            for known in (digest, os.urandom(32)):
                with pytest.raises(DatabaseUnavailable):
                    await callers.find(known)
            with pytest.raises(DatabaseUnavailable):
                await callers.refresh()
        callers._pool = pool
        assert await callers.find(digest)

    use(url, test)


def test_a_database_that_hangs(url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait for it are told so in time, those of known callers go on, and it is all well once it answers."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        await callers.find(digest)
        async with await psycopg.AsyncConnection.connect(database_url) as other:
            await other.execute("LOCK tokens IN ACCESS EXCLUSIVE MODE")
            monkeypatch.setattr(service, "WAIT_MAX_S", 0.2)
            found = await asyncio.gather(*(callers.find(os.urandom(32)) for _ in range(20)), return_exceptions=True)
            assert {type(error) for error in found} == {DatabaseUnavailable}
            assert callers.known(digest)
        monkeypatch.setattr(service, "WAIT_MAX_S", 20)
        _, digest = await make(pool, "other")
        assert await callers.find(digest)

    use(url, test)


def test_a_read_that_hangs_is_given_up(url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one takes its place."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        async with await psycopg.AsyncConnection.connect(database_url) as other:
            await other.execute("LOCK tokens IN ACCESS EXCLUSIVE MODE")
            monkeypatch.setattr(service, "GIVE_UP_S", 0.2)
            with pytest.raises(DatabaseUnavailable):
                await callers.refresh()
        monkeypatch.setattr(service, "GIVE_UP_S", 20)
        await callers.refresh()

    use(url, test)


def test_calls_that_wait_share_a_read(url: str, reads: Reads) -> None:
    """Many that come at once are answered by one read."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        digests = [digest, *(os.urandom(32) for _ in range(199))]
        found = await asyncio.gather(*(outcome(callers, each) for each in digests))
        assert found == [None] + [TokenInvalid] * 199
        assert len(reads.began_s) == 1

    use(url, test)


def test_a_flood_of_unknown_tokens(url: str, reads: Reads) -> None:
    """It makes ten reads a second; beyond those that wait, calls are turned away for now; who is known is not."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        await callers.find(digest)
        began_s, begun = time.monotonic(), len(reads.began_s)
        seen: set[type[GatekeeperError] | None] = set()

        async def guess() -> None:
            for _ in range(4):
                seen.add(await outcome(callers, os.urandom(32)))

        guesses = [asyncio.create_task(guess()) for _ in range(2 * service.WAITING_MAX)]
        while not all(task.done() for task in guesses):
            assert callers.known(digest)
            await asyncio.sleep(0)
        assert seen == {TokenInvalid, QueueFull}
        later = reads.began_s[begun:]
        assert (len(later) - 1) * service.REFRESH_GAP_S <= later[-1] - began_s
        assert callers._waiting == 0

    use(url, test)


def test_a_flood_while_knowledge_is_too_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the ones that wait are told that the database is away: nobody can be known."""
    monkeypatch.setattr(service, "WAITING_MAX", 1)

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        found = await asyncio.gather(*(outcome(callers, os.urandom(32)) for _ in range(3)))
        assert found == [TokenInvalid, DatabaseUnavailable, DatabaseUnavailable]

    use(url, test)


def test_a_call_that_came_during_a_read_waits_for_the_next(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was made while a read was under way is found by the call that brings it."""

    async def test(pool: Pool) -> None:
        callers, read = Callers(pool), storage.read_changes
        has_read, may_return = asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any, **named: Any) -> Changes:
            changes = await read(*arguments, **named)
            has_read.set()
            await may_return.wait()
            return changes

        monkeypatch.setattr(storage, "read_changes", slow)
        early = asyncio.create_task(callers.refresh())
        await has_read.wait()
        _, digest = await make(pool)
        late = asyncio.create_task(callers.find(digest))
        await asyncio.sleep(0)
        may_return.set()
        await early
        assert (await late).name == "writer"

    use(url, test)


def test_a_call_that_goes_away_leaves_the_read_to_the_others(url: str) -> None:
    """Neither it nor its read is waited for in vain."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        waiting = [asyncio.create_task(callers.find(digest)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        assert await waiting[1] == await waiting[2]
        assert waiting[0].cancelled()
        assert callers._waiting == 0

    use(url, test)
