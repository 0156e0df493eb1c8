"""Is it found whatever is done to the audit trail behind the server's back, and refused to all but superusers?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from gatekeeper.domain.audit import AuditKey, AuditSource
from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services.audit_verification import ChainHead
from gatekeeper.storage import audit, verification
from tests.conftest import url_of
from tests.integration.audit_tamperings import ANEW, MAKE_ANEW, TAMPERINGS
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
UNKEYED = "it is sealed without the key, and no head that was kept elsewhere vouches for it"
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
        unkeyed = f"event 5: {UNKEYED}"
        foreign = f"event 6: it is sealed with another key, {OTHER.key_id.hex()}"
        assert differences(url) == [f"'acme': {unkeyed}", f"'acme': {foreign}"]
        asyncio.run(chain_all(url))
        assert differences(url) == [f"'acme': link 9: {unkeyed}", f"'acme': link 10: {foreign}"]


def test_forged_from_the_beginning(keyed: Books) -> None:
    """Who reseals everything without the key up to the newest row, and makes every link anew, is found."""
    with keyed.copy() as url:
        reseal(url, KEYLESS, but=4)
        as_superuser(url, MAKE_ANEW)
        lines = differences(url)
        assert len(lines) == 7
        assert all(line.endswith(UNKEYED) for line in lines)


def test_forged_for_another_organization(keyed: Books) -> None:
    """An organization where nothing was ever sealed with the key is no place for forged entries either."""
    with keyed.copy() as url:
        asyncio.run(make_trail(url, "fresh", KEYLESS, rows_each=1))
        assert [line.partition(": ")[2] for line in differences(url)] == [
            f"link 1: event 5: {UNKEYED}",
            f"link 2: denial 5: {UNKEYED}",
        ]


def test_key_comes_later(keyless: Books) -> None:
    """A key may be brought in late: a head that was kept vouches for what was sealed before it, and no further."""
    with keyless.copy() as url:
        (head,) = verified(url, KEYLESS).heads
        asyncio.run(make_trail(url, rows_each=1))
        assert verified(url, kept=[head]).links == 10
        assert differences(url, kept=[head]) == []
        assert len(differences(url)) == 8
        wrong = ChainHead(organization="acme", sequence=10, link=head.link)
        elsewhere = ChainHead(organization="other", sequence=8, link=head.link)
        assert len(differences(url, kept=[wrong])) == 9
        assert len(differences(url, kept=[elsewhere])) == 9
        asyncio.run(make_trail(url, key=KEYLESS, rows_each=1))
        assert [line.partition(": ")[2] for line in differences(url, kept=[head])] == [
            f"link 11: event 6: {UNKEYED}",
            f"link 12: denial 6: {UNKEYED}",
        ]


def test_a_kept_head_vouches_for_what_it_was(keyless: Books) -> None:
    """A kept head does not vouch for rows that were resealed since, whether the links were made anew or not."""
    with keyless.copy() as url:
        (head,) = verified(url, KEYLESS).heads
        as_superuser(url, "UPDATE audit_events SET reason = 'bribed' WHERE event_id = 1")
        reseal(url, KEYLESS)
        assert differences(url, kept=[head]) == ["'acme': link 1: it does not fit the one before it and event 1"]
        as_superuser(url, MAKE_ANEW)
        lines = differences(url, kept=[head])
        assert "'acme': link 8: it is not the one that was kept elsewhere" in lines
        assert len(lines) == 9


def test_rotated_key(keyed: Books) -> None:
    """After a rotation both keys verify, and only the first one seals."""
    with keyed.copy() as url:
        rotated = AuditKey(OTHER.secret, older=(KEY,))
        asyncio.run(make_trail(url, key=rotated, rows_each=1))
        assert differences(url, rotated) == []
        assert len(differences(url, OTHER)) == 8
        as_superuser(url, "UPDATE audit_events SET reason = 'bribed' WHERE event_id = 1")
        assert differences(url, rotated) == ["'acme': link 1: event 1: it was changed, for its seal does not fit"]


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
                now = datetime.now(UTC)
                await audit.write_event(connection, "acme", event(9, occurred_at=now), KEY)
                await deny(connection, "acme", [denial(9, denied_at=now), denial(10, denied_at=now)])
                await audit.write_event(connection, "new", event(1, occurred_at=now), KEY)

        asyncio.run(write())
        found = verified(url)
        assert found.differences == []
        assert (found.links, found.pending) == (8, 4)


def test_rows_that_wait_too_long(keyed: Books) -> None:
    """A row that waits for its link since more than a minute is a difference that says what to do about it."""
    with keyed.copy() as url:

        async def write() -> None:
            async with connected(url) as connection:
                late = datetime.now(UTC) - timedelta(seconds=61)
                await audit.write_event(connection, "acme", event(9, occurred_at=late), KEY)
                await audit.write_event(connection, "acme", event(9, occurred_at=late + timedelta(days=1)), KEY)

        asyncio.run(write())
        (line,) = differences(url)
        assert line.startswith("'acme': event 5: not chained since 2")
        assert line.endswith("+00:00; let a server run for a while and verify again")
        asyncio.run(chain_all(url))
        assert differences(url) == []


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


def reseal(url: str, key: AuditKey, *, but: int | None = None) -> None:
    """Seal every row anew, as one who gets round the triggers, except for the denial of this number."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        for source, table in audit.TABLES.items():
            id_ = audit.IDS[source]
            columns = audit.content_columns(source, "t")
            for number, *content in connection.execute(f"SELECT {id_}, {columns} FROM {table} t".encode()).fetchall():
                if source is AuditSource.EVENT or number != but:
                    seal = key.seal(audit.content(source, content))
                    connection.execute(f"UPDATE {table} SET seal = %s WHERE {id_} = %s".encode(), (seal, number))


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
