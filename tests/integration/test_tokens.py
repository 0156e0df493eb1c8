"""Are tokens made, listed and ended as promised, by the role that servers have, and is it all written down?"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from gatekeeper.domain.access import Role
from gatekeeper.domain.budget import Scope, ScopeKind
from gatekeeper.domain.errors import InvalidField, TokenExists, TokenNotFound
from gatekeeper.domain.tokens import NewToken, digest_of_identity, digest_of_secret, is_token
from gatekeeper.services import tokens
from gatekeeper.storage.connections import Pool, open_pool
from tests.conftest import served_url
from tests.integration.token_ledger import ALICE, EVENTS, EXPIRE, KEY, Ledger


@pytest.fixture
def ledger(database_url: str) -> Ledger:
    """Return the test's database."""
    return Ledger(database_url)


def test_a_secret_is_kept_nowhere(ledger: Ledger) -> None:
    """What is in the database is its digest; neither it nor a part of it is in any row."""
    token, secret = ledger.create("writer")
    assert is_token(secret)
    assert ledger.sql("SELECT digest FROM tokens") == [(digest_of_secret(secret),)]
    tables = [name for (name,) in ledger.sql("SELECT relname FROM pg_stat_user_tables WHERE relname <> 'price_books'")]
    everything = " ".join(str(row) for name in tables for row in ledger.sql(f"SELECT t::text FROM {name} t"))
    assert token.token_id in everything
    for part in (secret, secret[3:23], secret[-20:], secret.encode().hex()):
        assert part not in everything


def test_no_two_secrets_are_the_same(ledger: Ledger) -> None:
    """Each is made anew."""
    assert len({ledger.create(f"agent {number}")[1] for number in range(5)}) == 5


def test_all_of_a_token_is_kept(ledger: Ledger) -> None:
    """What was asked for is what is listed, with who made it and when, by the database's clock."""
    before = ledger.sql("SELECT clock_timestamp()")[0][0]
    scope, expires_at = Scope(ScopeKind.CAMPAIGN, "spring"), datetime.now(UTC) + timedelta(days=90)
    made, _ = ledger.create("writer", scope=scope, expires_at=expires_at, identity="CN=writer")
    (listed,) = ledger.run(lambda pool: tokens.list_tokens(pool, "acme", None, 10))
    assert listed == made
    assert (made.name, made.role, made.organization) == ("writer", Role.AGENT, "acme")
    assert (made.scope, made.expires_at, made.identity, made.created_by) == (scope, expires_at, "CN=writer", "alice")
    assert before <= made.created_at <= ledger.sql("SELECT clock_timestamp()")[0][0]
    assert (made.in_force, made.revoked_at, made.last_used_at) == (True, None, None)


def test_an_identity_has_no_secret(ledger: Ledger) -> None:
    """It is recognized by itself."""
    _, secret = ledger.create("writer", identity="uid=1000")
    assert secret == ""
    assert ledger.sql("SELECT digest FROM tokens") == [(digest_of_identity("uid=1000"),)]


def test_changes_are_written_down(ledger: Ledger) -> None:
    """Who made and who ended a token, from where, what it was, and why, is in its organization's audit trail."""
    token, _ = ledger.create("writer", scope=Scope(ScopeKind.AGENT, "w1"), reason="for the spring")
    ledger.revoke("writer")
    created, revoked = ledger.sql(EVENTS)
    content = {"token_id": token.token_id, "role": "AGENT", "scope": "agent 'w1'", "identity": None, "expires_at": None}
    who = ("alice", "ipv4:10.0.0.7:4711", "token 'writer'")
    assert created[:5] == ("acme", "TOKEN_CREATED", *who)
    assert (created[5], json.loads(created[6]), created[7]) == (None, content, "for the spring")
    assert revoked[:5] == ("acme", "TOKEN_REVOKED", *who)
    assert (json.loads(revoked[5]), revoked[6], revoked[7]) == (content, None, "left")


def test_names_are_unique_among_those_in_force(ledger: Ledger) -> None:
    """In an organization; a name is free again once its token has ended."""
    ledger.create("writer")
    ledger.create("writer", organization="other")
    with pytest.raises(TokenExists, match="'writer'"):
        ledger.create("writer", Role.VIEWER)
    ledger.revoke("writer")
    ledger.create("writer")


def test_an_identity_has_one_role(ledger: Ledger) -> None:
    """Wherever: a certificate says who somebody is once; it can be given a role anew when the first has ended."""
    ledger.create("writer", identity="CN=writer")
    with pytest.raises(TokenExists, match="'CN=writer'"):
        ledger.create("other", Role.VIEWER, "other", identity="CN=writer")
    ledger.revoke("writer")
    ledger.create("other", Role.VIEWER, "other", identity="CN=writer")


def test_what_has_expired_stands_in_nobodys_way(ledger: Ledger) -> None:
    """Its name and identity can be given anew; its end is written down, by the server itself."""
    ledger.create("writer", identity="CN=writer")
    ledger.sql(EXPIRE, "writer")
    ledger.create("writer")
    ledger.create("reader", organization="other", identity="CN=writer")
    assert [row[:3] for row in ledger.sql(EVENTS)] == [
        ("acme", "TOKEN_CREATED", "alice"),
        ("acme", "TOKEN_REVOKED", "gatekeeper"),
        ("acme", "TOKEN_CREATED", "alice"),
        ("other", "TOKEN_CREATED", "alice"),
    ]


def test_refused_tokens_are_not_made(ledger: Ledger) -> None:
    """What cannot be is refused, by the database's clock where it is about time, and nothing is written."""
    for fields in (
        {"name": " x"},
        {"name": "x", "identity": "nobody"},
        {"name": "x", "role": Role.OPERATOR},
        {"name": "x", "expires_at": datetime.now(UTC) - timedelta(seconds=1)},
        {"name": "x", "expires_at": datetime.now(UTC) + timedelta(days=4000)},
    ):
        with pytest.raises(InvalidField):
            ledger.create(**fields)  # type: ignore[arg-type]
    assert (
        ledger.sql("SELECT count(*) FROM tokens")
        == ledger.sql("SELECT count(*) FROM audit_events WHERE starts_with(action, 'TOKEN')")
        == [(0,)]
    )


def test_an_organization_has_so_many(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that ended lately count too, because servers still know them; those that ended long ago do not."""
    monkeypatch.setattr(tokens, "TOKENS_MAX", 2)
    ledger.create("a")
    ledger.revoke("a")
    ledger.create("b")
    with pytest.raises(InvalidField, match="organization: has 2 tokens"):
        ledger.create("c")
    ledger.create("c", organization="other")
    ledger.sql("UPDATE tokens SET expires_at = now() - interval '31 days' WHERE name = 'a'")
    ledger.create("c")


def test_revoking_by_name_and_id(ledger: Ledger) -> None:
    """An id comes before a name that reads the same; what has ended cannot be ended again."""
    first, _ = ledger.create("first")
    ledger.create(first.token_id)
    assert ledger.revoke(first.token_id).name == "first"
    assert ledger.revoke(first.token_id).name == first.token_id
    for unknown in (first.token_id, "first", "nothing"):
        with pytest.raises(TokenNotFound):
            ledger.revoke(unknown)


def test_tokens_of_others_are_not_found(ledger: Ledger) -> None:
    """By name or id, whoever knows them."""
    token, _ = ledger.create("writer")
    for organization in ("other", ""):
        for known in ("writer", token.token_id):
            with pytest.raises(TokenNotFound):
                ledger.revoke(known, organization)
    assert ledger.names("other") == ledger.names("") == []


def test_revoking_whosever_it_is(ledger: Ledger) -> None:
    """Without an organization, a token is found anywhere, unless several have its name."""
    ledger.create("writer")
    mine, _ = ledger.create("writer", organization="other")
    ledger.create("root", Role.OPERATOR, "")
    with pytest.raises(InvalidField, match="organization: is needed"):
        ledger.revoke("writer", None)
    assert ledger.revoke(mine.token_id, None).organization == "other"
    assert ledger.revoke("writer", None).organization == "acme"
    assert ledger.revoke("root", None).role is Role.OPERATOR
    with pytest.raises(TokenNotFound):
        ledger.revoke("writer", None)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lists(ledger: Ledger, size: int) -> None:
    """Those in force come first, then the newest, whatever the size of a page; each once."""
    for name in "abcdef":
        ledger.create(name)
    ledger.create("x", organization="other")
    ledger.revoke("f")
    ledger.sql(EXPIRE, "b")
    pages = ledger.names(size=size)
    assert [name for page in pages for name in page] == ["e", "d", "c", "a", "f", "b"]
    assert {len(page) for page in pages[:-1]} <= {size}
    assert [name for page in ledger.names(None, size) for name in page] == ["x", "e", "d", "c", "a", "f", "b"]


def test_those_of_one_instant_are_listed_once(ledger: Ledger) -> None:
    """Where many share a time, pages break between them."""
    for number in range(5):
        ledger.create(f"{number}")
    ledger.sql("UPDATE tokens SET created_at = '2026-01-01'")
    assert sorted(name for page in ledger.names(size=2) for name in page) == list("01234")


def test_changes_at_once(ledger: Ledger) -> None:
    """Many that make and end tokens of one name at a time get in each other's way, and never lock each other out."""

    async def change(pool: Pool, number: int) -> str:
        try:
            if number % 2:
                await tokens.revoke(pool, "acme", "writer", ALICE, KEY)
                return "revoked"
            await tokens.create(pool, NewToken(name="writer", role=Role.AGENT, organization="acme"), ALICE, KEY)
        except (TokenExists, TokenNotFound):
            return "refused"
        return "created"

    async def change_all() -> list[str]:
        async with open_pool(served_url(ledger.url), name="test", size_max=8, hot=False) as pool:
            return await asyncio.gather(*(change(pool, number) for number in range(40)))

    done = asyncio.run(change_all())
    in_force = ledger.sql("SELECT count(*) FROM tokens WHERE revoked_at IS NULL")[0][0]
    assert done.count("created") - done.count("revoked") == in_force
    assert ledger.sql("SELECT count(*) FROM audit_events WHERE starts_with(action, 'TOKEN')") == [
        (len(done) - done.count("refused"),)
    ]
    revisions = [revision for (revision,) in ledger.sql("SELECT revision FROM tokens ORDER BY 1")]
    assert len(set(revisions)) == len(revisions)
