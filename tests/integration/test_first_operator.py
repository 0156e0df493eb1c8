"""Does a fresh installation get one operator's token, in a file, whatever happens meanwhile?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gatekeeper.domain.access import Role
from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.tokens import Token, digest_of_secret
from gatekeeper.services import tokens
from gatekeeper.storage import tokens as storage
from gatekeeper.storage.connections import open_pool
from tests.conftest import served_url
from tests.integration.token_ledger import ALICE, EVENTS, EXPIRE, KEY, Ledger


@pytest.fixture
def ledger(database_url: str) -> Ledger:
    """Return the test's database."""
    return Ledger(database_url)


def test_the_first_operator(ledger: Ledger, tmp_path: Path) -> None:
    """Where no operator has a token in force, one is made, and put in a file; else nothing happens."""
    path = tmp_path / "new" / "operator.token"
    assert ledger.ensure_operator(path)
    secret = path.read_text().strip()
    assert ledger.sql("SELECT role, organization, digest FROM tokens") == [("OPERATOR", "", digest_of_secret(secret))]
    assert [row[:3] for row in ledger.sql(EVENTS)] == [("", "TOKEN_CREATED", "alice")]
    path.unlink()
    assert not ledger.ensure_operator(path)
    assert not path.exists()


def test_a_file_of_before_is_worth_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """When the last operator's token has ended, the next one takes the place of the file."""
    path = tmp_path / "operator.token"
    ledger.ensure_operator(path)
    first = path.read_text()
    ledger.sql(EXPIRE, "operator")
    assert ledger.ensure_operator(path)
    assert path.read_text() != first
    ledger.revoke("operator", "")
    assert ledger.ensure_operator(path)
    digest = digest_of_secret(path.read_text().strip())
    assert ledger.sql("SELECT digest FROM tokens WHERE revoked_at IS NULL") == [(digest,)]


def test_only_operators_count(ledger: Ledger, tmp_path: Path) -> None:
    """An admin is no operator; an operator by certificate is one."""
    ledger.create("admin", Role.ADMIN)
    assert ledger.ensure_operator(tmp_path / "operator.token")
    ledger.revoke("operator", "")
    ledger.create("root", Role.OPERATOR, "", identity="uid=0")
    assert not ledger.ensure_operator(tmp_path / "operator.token")


def test_no_file_no_token(ledger: Ledger, tmp_path: Path) -> None:
    """Where the file cannot be written, no token is made that nobody would know."""
    with pytest.raises(InvalidField, match="token_file"):
        ledger.ensure_operator(tmp_path)
    assert ledger.sql("SELECT count(*) FROM tokens") == [(0,)]


def test_the_file_comes_first(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a process between file and row leaves a secret that opens nothing, and the next start mends it."""
    path = tmp_path / "operator.token"

    async def crash(*_: object) -> Token:
        assert path.exists()
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr(storage, "add", crash)
        with pytest.raises(ConnectionAbortedError):
            ledger.ensure_operator(path)
    assert ledger.sql("SELECT count(*) FROM tokens") == [(0,)]
    assert ledger.ensure_operator(path)
    assert ledger.sql("SELECT digest FROM tokens") == [(digest_of_secret(path.read_text().strip()),)]


def test_several_at_once_make_one(ledger: Ledger, tmp_path: Path) -> None:
    """Of many processes that start on an empty database, one makes the operator's token, and the file holds it."""
    path = tmp_path / "operator.token"

    async def start() -> bool:
        async with open_pool(served_url(ledger.url), name="test", size_max=1, hot=False) as pool:
            return (await tokens.ensure_operator(pool, path, ALICE, KEY)).is_new

    async def start_all() -> list[bool]:
        return await asyncio.gather(*(start() for _ in range(6)))

    assert sorted(asyncio.run(start_all())) == [False] * 5 + [True]
    assert ledger.sql("SELECT digest FROM tokens") == [(digest_of_secret(path.read_text().strip()),)]
    assert [*tmp_path.iterdir()] == [path]


def test_the_file_of_another_installation_stays(ledger: Ledger, tmp_path: Path) -> None:
    """A command that was given a database does not write over a token that opens another; one of its own it does."""
    path = tmp_path / "operator.token"
    path.write_text("gk_" + "A" * 43)
    with pytest.raises(InvalidField, match="another database"):
        ledger.ensure_operator(path, keeps_foreign=True)
    assert ledger.sql("SELECT FROM tokens") == []
    path.unlink()
    assert ledger.ensure_operator(path, keeps_foreign=True)
    ledger.revoke("operator", "")
    assert ledger.ensure_operator(path, keeps_foreign=True)
