"""Is it found whatever is done to the audit trail behind the server's back, and refused to all but superusers?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services.audit_verification import ChainHead
from gatekeeper.storage import audit, verification
from tests.conftest import url_of
from tests.integration.audit_tamperings import ANEW, TAMPERINGS
from tests.integration.busy_books import Books, copied
from tests.integration.trails import (
    KEY,
    KEYLESS,
    as_superuser,
    chain_all,
    connected,
    denial,
    deny,
    differences,
    event,
    make_trail,
    open_organizations,
    verified,
)

OTHER = AuditKey(b"o" * 32)
WRITTEN_ONCE = ("audit_events", "audit_chain", "denials", "executions")


@pytest.fixture(scope="module")
def keyed(postgres: EmbeddedPostgres, template: str) -> Iterator[Books]:
    """Make a trail with a key once, to copy from."""
    with copied(postgres, template) as name:
        asyncio.run(make_trail(url_of(postgres, name)))
        yield Books(server=postgres, name=name)


@pytest.fixture(scope="module")
def keyless(postgres: EmbeddedPostgres, template: str) -> Iterator[Books]:
    """Make a trail without a key once, to copy from."""
    with copied(postgres, template) as name:
        asyncio.run(make_trail(url_of(postgres, name), key=KEYLESS))
        yield Books(server=postgres, name=name)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(keyed: Books, name: str) -> None:
    """Each way of tampering is told in lines that name the place and what is wrong with it, and no others."""
    statements, expected = TAMPERINGS[name]
    with keyed.copy() as url:
        as_superuser(url, *statements)
        assert sorted(differences(url)) == sorted(expected)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_without_a_key(keyless: Books, name: str) -> None:
    """It is found as well where seals were made without a secret, by one who does not forge them."""
    statements, expected = TAMPERINGS[name]
    with keyless.copy() as url:
        as_superuser(url, *statements)
        assert sorted(differences(url, KEYLESS)) == sorted(expected)


@pytest.mark.parametrize("name", ANEW)
def test_a_trail_made_anew_is_found(keyed: Books, name: str) -> None:
    """Only a head that was kept elsewhere tells of rows that were taken away together with what told of them."""
    with keyed.copy() as url:
        (head,) = verified(url).heads
        as_superuser(url, *ANEW[name])
        assert differences(url) == []
        assert differences(url, kept=[head])


def test_kept_heads(keyed: Books) -> None:
    """A head that was kept elsewhere is found again in a longer chain; one that never was there is not."""
    with keyed.copy() as url:
        (head,) = verified(url).heads
        asyncio.run(make_trail(url, rows_each=1))
        assert differences(url, kept=[head]) == []
        wrong = ChainHead(organization="acme", sequence=8, link=b"x" * 32)
        later = ChainHead(organization="acme", sequence=99, link=b"x" * 32)
        nobody = ChainHead(organization="nobody", sequence=1, link=b"x" * 32)
        assert differences(url, kept=[head, wrong, later, nobody]) == [
            "'acme': link 8: it is not the one that was kept elsewhere",
            "'acme': link 99, which was kept elsewhere, is missing; the last link is 10",
            "'nobody': link 1, which was kept elsewhere, is missing; the last link is 0",
        ]


def test_forged_without_the_key(keyed: Books) -> None:
    """Who does not have the key can seal with none or with one of his own, and both are found."""
    with keyed.copy() as url:

        async def forge() -> None:
            async with connected(url) as connection:
                await audit.write_event(connection, "acme", event(5), KEYLESS)
                await audit.write_event(connection, "acme", event(6), OTHER)

        asyncio.run(forge())
        unkeyed = "event 5: it is sealed without the key, and an earlier one with it"
        foreign = f"event 6: it is sealed with another key, {OTHER.key_id.hex()}"
        assert differences(url) == [f"'acme': {unkeyed}", f"'acme': {foreign}"]
        asyncio.run(chain_all(url))
        assert differences(url) == [f"'acme': link 9: {unkeyed}", f"'acme': link 10: {foreign}"]


def test_key_comes_later(keyless: Books) -> None:
    """A key may be brought in when there is a trail already: what was sealed without one before is fine."""
    with keyless.copy() as url:
        asyncio.run(make_trail(url, rows_each=1))
        found = verified(url)
        assert found.differences == []
        assert found.links == 10


def test_wrong_key(keyed: Books) -> None:
    """With another key, or none, nothing can be told but that."""
    with keyed.copy() as url:
        for key in (OTHER, KEYLESS):
            lines = differences(url, key)
            assert len(lines) == 8
            assert all(f"it is sealed with another key, {KEY.key_id.hex()}" in line for line in lines)


def test_pending_rows(keyed: Books) -> None:
    """Rows that are not chained yet are counted, and are fine if their seals are."""
    with keyed.copy() as url:

        async def write() -> None:
            async with connected(url) as connection:
                await open_organizations(connection, "new")
                await audit.write_event(connection, "acme", event(9), KEY)
                await deny(connection, "acme", [denial(9), denial(10)])
                await audit.write_event(connection, "new", event(1), KEY)

        asyncio.run(write())
        found = verified(url)
        assert found.differences == []
        assert (found.links, found.pending) == (8, 4)


def test_one_organization(keyed: Books) -> None:
    """With an organization named, only its chain is looked at; one that nobody knows is an error."""
    with keyed.copy() as url:
        asyncio.run(make_trail(url, "other", rows_each=1))
        as_superuser(url, "UPDATE audit_events SET reason = 'x' WHERE organization = 'other'")
        assert verified(url, organization="acme").differences == []
        assert verified(url, organization="").links == 0
        assert len(verified(url, organization="other").differences) == 1
        with pytest.raises(OrganizationNotFound):
            verified(url, organization="nobody")


def test_listing_ends(keyed: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong in very many places of a chain is listed up to a limit, and said to be cut."""
    assert verification.DIFFERENCES_MAX == 1000
    monkeypatch.setattr("gatekeeper.services.audit_verification.DIFFERENCES_MAX", 3)
    with keyed.copy() as url:
        as_superuser(url, "UPDATE audit_events SET reason = 'x'")
        found = verified(url)
        assert len(found.differences) == 3
        assert not found.complete


@pytest.mark.parametrize("table", WRITTEN_ONCE)
@pytest.mark.parametrize("change", ["UPDATE {table} SET organization = 'x'", "DELETE FROM {table}", "TRUNCATE {table}"])
def test_changes_are_refused(keyed: Books, table: str, change: str) -> None:
    """Without switching triggers off, not even a superuser changes what is written once."""
    with keyed.copy() as url, psycopg.connect(url) as connection:
        if table == "executions":
            connection.execute(
                "INSERT INTO executions (organization, reservation_id, kind, day, month, committed_at, cost,"
                " reserved_amount, outcome) VALUES ('acme', 'r', 'COMMIT', '', '', now(), 1, 1, 'SUCCEEDED')"
            )
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"of {table} is refused") as refused:
            connection.execute(change.format(table=table).encode())
    assert refused.value.sqlstate == "42501"
