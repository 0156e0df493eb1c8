"""Does every process know its callers, at once and only as long as it should, whatever the database does?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from gatekeeper.domain.access import Caller, Role
from gatekeeper.domain.budget import Scope, ScopeKind
from gatekeeper.domain.errors import (
    DatabaseUnavailable,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from gatekeeper.services import tokens
from gatekeeper.services.callers import Callers
from gatekeeper.storage import connections
from gatekeeper.storage import tokens as storage
from gatekeeper.storage.connections import Pool, open_pool
from tests.conftest import served_url
from tests.integration.caller_pools import NOWHERE, Reads, make, outcome, revoke, use

# The clock of the database, by itself and not by this machine.
OTHER_CLOCK = """
CREATE SCHEMA fake;
CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS $$SELECT pg_catalog.clock_timestamp() + interval '{days} days'$$;
GRANT USAGE ON SCHEMA fake TO gatekeeper_server;
"""
SEARCH_PATH = "?options=-csearch_path%3Dfake,public,pg_catalog"


@pytest.fixture
def url(database_url: str) -> str:
    """Return the URL of the test's database, for the role that servers have."""
    return served_url(database_url)


@pytest.fixture
def sql(database_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Return what executes a statement as a superuser."""

    def execute(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    return execute


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Count the reads of the database."""
    return Reads(monkeypatch)


def test_a_token_that_was_made_a_moment_ago(url: str) -> None:
    """Nobody is known before a refresh; who is not known is looked for, and known from then on."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        scope = Scope(ScopeKind.CAMPAIGN, "spring")
        first, digest = await make(pool, scope=scope)
        assert callers.known(digest) is None
        expected = Caller(caller_id=first.token_id, name="writer", role=Role.AGENT, organization="acme", scope=scope)
        assert await callers.find(digest) == callers.known(digest) == expected
        other, digest = await make(pool, "root", role=Role.OPERATOR, organization="")
        assert callers.known(digest) is None
        assert (await callers.find(digest)).caller_id == other.token_id
        assert callers.known(digest) == Caller(caller_id=other.token_id, name="root", role=Role.OPERATOR)
        with pytest.raises(TokenInvalid):
            await callers.find(os.urandom(32))

    use(url, test)


def test_a_revocation_is_known_everywhere_after_a_refresh(url: str) -> None:
    """Two processes refuse a token that was revoked as soon as they have refreshed, or have to."""

    async def test(pool: Pool) -> None:
        both = Callers(pool), Callers(pool)
        _, digest = await make(pool)
        for callers in both:
            await callers.find(digest)
        await revoke(pool)
        for callers in both:
            assert callers.known(digest)
            await callers.refresh()
            with pytest.raises(TokenRevoked):
                callers.known(digest)
            with pytest.raises(TokenRevoked):
                await callers.find(digest)

    use(url, test)


def test_a_change_by_hand_takes_effect(url: str, sql: Callable[..., Any]) -> None:
    """Whoever changes a token by SQL need not know how servers learn of it."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        assert (await callers.find(digest)).role is Role.AGENT
        sql("UPDATE tokens SET role = 'VIEWER', expires_at = 'infinity'")
        await callers.refresh()
        assert getattr(callers.known(digest), "role", None) is Role.VIEWER
        sql("UPDATE tokens SET expires_at = '2020-01-01'")
        await callers.refresh()
        with pytest.raises(TokenExpired, match="2020-01-01"):
            callers.known(digest)

    use(url, test)


@pytest.mark.parametrize("days", [-30, 30])
def test_expiry_by_the_clock_of_the_database(url: str, sql: Callable[..., Any], days: int) -> None:
    """Whatever this machine's clock says, a token expires when it is that time in the database."""
    sql(OTHER_CLOCK.format(days=days))
    there = datetime.now(UTC) + timedelta(days=days)

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        later, digest = await make(pool, "later", expires_at=there + timedelta(hours=1))
        ended, ended_digest = await make(pool, "ended", expires_at=there + timedelta(hours=1))
        assert await callers.find(digest) == callers.known(digest)
        sql("UPDATE tokens SET expires_at = %s WHERE token_id = %s", there - timedelta(hours=1), ended.token_id)
        assert later.expires_at is not None
        with pytest.raises(TokenExpired):
            await callers.find(ended_digest)
        assert callers.known(digest)

    use(url + SEARCH_PATH, test)


def test_a_token_expires_without_a_refresh(url: str) -> None:
    """Its time passes in memory too."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        token, digest = await make(pool, expires_at=datetime.now(UTC) + timedelta(hours=1))
        assert await callers.find(digest)
        callers._ahead_s += 3500
        assert callers.known(digest)
        callers._ahead_s += 100
        with pytest.raises(TokenExpired) as expired:
            callers.known(digest)
        assert token.expires_at is not None
        assert expired.value.metadata == {"expire_time": token.expires_at.isoformat()}

    use(url, test)


def test_an_identity_given_anew(url: str, sql: Callable[..., Any]) -> None:
    """Of two tokens with one digest, the one in force counts, whichever was changed last."""

    async def test(pool: Pool) -> None:
        old, new = Callers(pool), Callers(pool)
        first, digest = await make(pool, "first", identity="CN=writer")
        assert (await old.find(digest)).caller_id == first.token_id
        await revoke(pool, "first")
        second, same = await make(pool, "second", identity="CN=writer", role=Role.VIEWER)
        assert same == digest
        for callers in (old, new):
            await callers.refresh()
            assert getattr(callers.known(digest), "caller_id", None) == second.token_id
        sql("UPDATE tokens SET created_by = 'x' WHERE name = 'first'")
        for callers in (old, new):
            await callers.refresh()
            assert getattr(callers.known(digest), "caller_id", None) == second.token_id
        await revoke(pool, "second")
        for callers in (old, new):
            with pytest.raises(TokenRevoked):
                await callers.find(digest)

    use(url, test)


def test_a_change_that_is_committed_late(url: str, database_url: str) -> None:
    """It is not missed, though others were read meanwhile: revisions grow in the order of commits."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        await callers.find(digest)
        async with await psycopg.AsyncConnection.connect(database_url) as other:
            await other.execute("UPDATE tokens SET revoked_at = now()")
            making = asyncio.create_task(make(pool, "second"))
            await callers.refresh()
            assert callers.known(digest)
            assert not making.done()
        _, second = await making
        assert (await callers.find(second)).name == "second"
        with pytest.raises(TokenRevoked):
            callers.known(digest)

    use(url, test)


def test_many_tokens_come_page_by_page(url: str, reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are known, at first and later."""
    monkeypatch.setattr(storage, "CHANGES_PAGE", 3)

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        digests = [(await make(pool, f"{number}"))[1] for number in range(7)]
        await callers.refresh()
        assert len(reads.began_s) == 3
        digests += [(await make(pool, f"{number}"))[1] for number in range(7, 13)]
        await callers.refresh()
        assert len(reads.began_s) == 6
        assert [getattr(callers.known(digest), "name", "") for digest in digests] == [f"{n}" for n in range(13)]
        await callers.refresh()
        assert len(reads.began_s) == 7

    use(url, test)


def test_what_ended_long_ago_is_forgotten(url: str, sql: Callable[..., Any]) -> None:
    """For thirty days its bearer is told why; then it is a token that nobody knows."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        await callers.find(digest)
        sql("UPDATE tokens SET expires_at = now() - interval '29 days'")
        assert await outcome(callers, digest) is await outcome(Callers(pool), digest) is TokenExpired
        sql("UPDATE tokens SET expires_at = now() - interval '31 days'")
        assert await outcome(callers, digest) is TokenExpired
        assert await outcome(Callers(pool), digest) is TokenInvalid
        callers._forget_s = 0
        assert await outcome(callers, digest) is TokenInvalid

    use(url, test)


def test_another_database_server(url: str, sql: Callable[..., Any]) -> None:
    """After a failover nothing that was known counts, though revisions have not gone back."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, digest = await make(pool)
        await callers.find(digest)
        sql("UPDATE tokens SET expires_at = now() + interval '1 day'")
        await callers.refresh()
        sql("DELETE FROM tokens")
        await callers.refresh()
        assert callers.known(digest)
        callers._server_started_at = datetime(2026, 1, 1, tzinfo=UTC)
        await callers.refresh()
        assert callers.known(digest) is None

    use(url, test)


def test_a_database_with_another_past(url: str, sql: Callable[..., Any]) -> None:
    """After the restore of a backup, what is known is what is in it."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        _, kept = await make(pool, "kept")
        _, digest = await make(pool)
        await callers.find(digest)
        sql("DELETE FROM tokens WHERE name = 'writer'")
        sql("UPDATE token_revisions SET revision = 1")
        assert await outcome(callers, digest) is TokenInvalid
        assert callers.known(kept)

    use(url, test)


def test_uses_are_written(url: str, sql: Callable[..., Any]) -> None:
    """The last use of each token, by the database's clock and never an earlier one; refused calls are no uses."""

    async def test(pool: Pool) -> None:
        callers, other = Callers(pool), Callers(pool)
        first, digest = await make(pool, "first")
        second, unused = await make(pool, "second")
        before = sql("SELECT clock_timestamp() - interval '1 second'")[0][0]
        for each in (callers, other):
            await each.find(digest)
        await other.write_uses()
        assert sql("SELECT organization, token_id FROM token_uses") == [("acme", first.token_id)]
        (latest,) = sql("SELECT last_used_at FROM token_uses")[0]
        assert before < latest < before + timedelta(minutes=1)
        sql("UPDATE token_uses SET last_used_at = '2100-01-01'")
        await callers.write_uses()
        await callers.write_uses()
        assert sql("SELECT extract(year FROM last_used_at) FROM token_uses") == [(2100,)]
        sql("UPDATE tokens SET expires_at = '2020-01-01' WHERE name = 'second'")
        assert await outcome(callers, unused) is TokenExpired
        await callers.write_uses()
        listed = await tokens.list_tokens(pool, "acme", None, 10)
        assert {token.token_id: token.last_used_at is None for token in listed} == {
            first.token_id: False,
            second.token_id: True,
        }

    use(url, test)


def test_uses_that_could_not_be_written_are_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written the next time, once for a token that has changed since."""

    async def test(pool: Pool) -> None:
        callers = Callers(pool)
        token, digest = await make(pool)
        await callers.find(digest)
        monkeypatch.setattr(connections, "POOL_TIMEOUT_S", 0.2)
        async with open_pool(NOWHERE, name="nowhere", size_max=1, hot=False) as nowhere:
            callers._pool = nowhere
            with pytest.raises(DatabaseUnavailable):
                await callers.write_uses()
        callers._pool = pool
        callers._revision = 0
        await callers.find(digest)
        await callers.write_uses()
        assert not callers._uses
        (listed,) = await tokens.list_tokens(pool, "acme", None, 10)
        assert listed.last_used_at is not None
        assert listed.last_used_at > token.created_at

    use(url, test)
