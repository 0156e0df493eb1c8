"""Which role may serve, what is it granted, and who finds what it has beyond that?"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services import setup
from gatekeeper.storage import grants
from tests.acceptance.commands import failed, refused, run
from tests.conftest import url_of

TABLES = [*grants.PRIVILEGES]


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role of a test's own."""

    name: str
    password: str
    database_url: str

    @property
    def url(self) -> str:
        """The URL of the test's database for this role."""
        parts = urlsplit(self.database_url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{quote(self.name, safe='')}:{self.password}@{place}"))

    def sql(self, *statements: str) -> None:
        """Execute statements as a superuser; `{role}` stands for this role."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(sql.SQL(statement).format(role=sql.Identifier(self.name)))  # type: ignore[arg-type]

    def lacking(self) -> list[str]:
        """Return what it needs to serve."""
        return asyncio.run(_ask(self.url, lacking=True))

    def excessive(self) -> list[str]:
        """Return what it may do besides serving."""
        return asyncio.run(_ask(self.url))


async def _ask(url: str, *, lacking: bool = False) -> list[str]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return await (grants.lacking(connection) if lacking else setup.role_excess(connection))


@contextmanager
def made(database_url: str, prefix: str, attributes: str = "LOGIN") -> Iterator[Role]:
    """Make a role for a test, in a cluster that other tests share."""
    role = Role(name=f"{prefix}_{uuid.uuid4().hex}", password=secrets.token_hex(), database_url=database_url)
    role.sql(f"CREATE ROLE {{role}} {attributes} PASSWORD '{role.password}'")
    yield role
    role.sql("DROP OWNED BY {role}", "DROP ROLE {role}")


@pytest.fixture
def role(database_url: str) -> Iterator[Role]:
    """Make a role that can log in; its name needs quotes in SQL and in a URL."""
    with made(database_url, 'Gate "keeper" %s/@') as role:
        yield role


def migrate(role: Role, *arguments: str) -> str:
    """Migrate as a superuser, granting to a role; return what was printed."""
    done = run("migrate", "--grant", role.name, *arguments, GATEKEEPER_DATABASE_URL=role.database_url)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_a_role_is_granted_what_a_server_needs(role: Role) -> None:
    """`migrate --grant` may be repeated; it takes away what else the role was granted."""
    with pytest.raises(InsufficientPrivilege):
        setup_reads(role)
    assert role.name in migrate(role)
    assert (role.lacking(), role.excessive()) == ([], [])
    role.sql("GRANT ALL ON executions, tokens TO {role}", "GRANT UPDATE (seal) ON audit_events TO {role}")
    assert role.excessive() == [
        "has DELETE on executions, tokens",
        "has REFERENCES on executions, tokens",
        "has TRIGGER on executions, tokens",
        "has TRUNCATE on executions, tokens",
        "has UPDATE on audit_events, executions, tokens",
    ]
    role.sql("REVOKE INSERT ON open_holds FROM {role}")
    assert role.lacking() == ["lacks INSERT on open_holds"]
    migrate(role)
    assert (role.lacking(), role.excessive()) == ([], [])


def setup_reads(role: Role) -> None:
    with psycopg.connect(role.url) as connection:
        connection.execute("SELECT FROM organizations")


@pytest.mark.parametrize(
    ("statements", "excess"),
    [
        (["ALTER ROLE {role} SUPERUSER CREATEROLE"], [grants.SUPERUSER]),
        (["ALTER ROLE {role} NOINHERIT", "GRANT gatekeeper TO {role}"], [grants.SUPERUSER]),
        (["ALTER ROLE {role} CREATEROLE BYPASSRLS"], ["may create roles", "bypasses row security"]),
        (["GRANT CREATE ON SCHEMA public TO {role}"], ["may create tables in the schema public"]),
        (["GRANT pg_execute_server_program TO {role}"], ["may start programs on the database server"]),
        (["GRANT SET ON PARAMETER session_replication_role TO {role}"], ["may switch triggers off"]),
        (["ALTER TABLE executions OWNER TO {role}"], ["owns executions"]),
        (["GRANT DELETE ON executions TO PUBLIC"], ["has DELETE on executions"]),
    ],
    ids=lambda given: None if isinstance(given, list) else given,
)
def test_whatever_a_role_has_beyond_that_is_found(role: Role, statements: Sequence[str], excess: Sequence[str]) -> None:
    """By whichever way a role could change history, there is a sentence that says so."""
    migrate(role)
    role.sql(*statements)
    assert role.excessive() == excess
    role.sql(
        "ALTER TABLE executions OWNER TO gatekeeper", "REVOKE SET ON PARAMETER session_replication_role FROM {role}"
    )


@pytest.mark.parametrize(
    ("granted", "excess"),
    [
        ("GRANT DELETE ON executions TO {role}", "has DELETE on executions"),
        ("GRANT UPDATE (seal) ON denials TO {role}", "has UPDATE on denials"),
        ("GRANT CREATE ON SCHEMA public TO {role}", "may create tables in the schema public"),
        ("GRANT SET ON PARAMETER session_replication_role TO {role}", "may switch triggers off"),
    ],
)
def test_what_a_role_could_have_by_becoming_another(role: Role, granted: str, excess: str) -> None:
    """What SET ROLE gives is found, at any distance; what a server needs it must have as it is."""
    migrate(role)
    name = sql.Identifier(role.name).as_string()
    with made(role.database_url, "far", "NOLOGIN") as far, made(role.database_url, "near", "NOLOGIN NOINHERIT") as near:
        role.sql("ALTER ROLE {role} NOINHERIT")
        far.sql(granted, "GRANT INSERT ON open_holds TO {role}", f"GRANT {{role}} TO {near.name}")
        near.sql(f"GRANT {{role}} TO {name}")
        role.sql("REVOKE INSERT ON open_holds FROM {role}")
        assert role.excessive() == [excess]
        assert role.lacking() == ["lacks INSERT on open_holds"]
        far.sql("REVOKE SET ON PARAMETER session_replication_role FROM {role}")


def test_the_members_of_an_owner_could_become_it(database_url: str, role: Role) -> None:
    """A role that belongs to the owner's counts as the owner, inheriting or not."""
    migrate(role)
    with made(database_url, "owner", "NOLOGIN") as owner:
        owner.sql(*(f"ALTER TABLE {table} OWNER TO {{role}}" for table in TABLES))
        owner.sql(f"GRANT {{role}} TO {sql.Identifier(role.name).as_string()}", "ALTER ROLE {role} NOINHERIT")
        assert role.excessive() == ["owns every table"]
        owner.sql("REASSIGN OWNED BY {role} TO gatekeeper")


def test_the_owner_need_not_be_a_superuser(postgres: EmbeddedPostgres, role: Role) -> None:
    """Whoever owns a database can migrate it and grant, and is then itself no role to serve as."""
    with made(role.database_url, "owner") as owner:
        name = f"e_{uuid.uuid4().hex}"
        owner.sql(f"CREATE DATABASE {name} OWNER {{role}}")
        try:
            own = Role(name=owner.name, password=owner.password, database_url=url_of(postgres, name))
            its = Role(name=role.name, password=role.password, database_url=own.url)
            migrate(its)
            assert (its.lacking(), its.excessive()) == ([], [])
            excess = own.excessive()
            assert excess[0] == "owns the database"
            assert excess[-1] == "owns every table"
            migrate(its)
            done = run("migrate", "--grant", owner.name, GATEKEEPER_DATABASE_URL=own.url)
            assert "owns the tables" in failed(done)
            assert own.lacking() == []
        finally:
            owner.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_role_that_does_not_exist(postgres: EmbeddedPostgres) -> None:
    """One line says how to make it, and nothing is migrated."""
    name = f"e_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        url = url_of(postgres, name)
        said = failed(run("migrate", "--grant", 'no "body"', GATEKEEPER_DATABASE_URL=url))
        assert """CREATE ROLE "no ""body\""" LOGIN PASSWORD '…'""" in said
        assert "does not exist" in failed(run("migrate", "--grant", "public", GATEKEEPER_DATABASE_URL=url))
        assert "is a superuser" in failed(run("migrate", "--grant", "gatekeeper", GATEKEEPER_DATABASE_URL=url))
        assert not asyncio.run(setup.is_ready(url))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_which_role_is_meant(database_url: str) -> None:
    """It is the setting's unless it is named; a role without --grant is wrong usage."""
    said = run("migrate", "--grant", GATEKEEPER_DATABASE_URL=database_url)
    assert (said.code, grants.SERVER_ROLE in said.out) == (0, True)
    other = {"GATEKEEPER_DATABASE_URL": database_url, "GATEKEEPER_SERVER_ROLE": "nobody_at_all"}
    assert "nobody_at_all" in failed(run("migrate", "--grant", **other))
    assert "--grant" in refused(run("migrate", "somebody", GATEKEEPER_DATABASE_URL=database_url))
    assert "embedded" in refused(run("migrate", "--grant"))


def test_the_role_of_the_embedded_database(role: Role) -> None:
    """It is made with a password that no statement has, which the next start ends; its grants are mended."""
    name = f"made_{uuid.uuid4().hex}"
    first = asyncio.run(setup.server_url(role.database_url, name))
    assert asyncio.run(_ask(first)) == asyncio.run(_ask(first, lacking=True)) == []
    granted = versions(role)
    second = asyncio.run(setup.server_url(role.database_url, name))
    assert versions(role) == granted
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(first)
    role.sql(f"GRANT DELETE ON executions TO {name}", f"ALTER ROLE {name} CREATEROLE")
    assert asyncio.run(_ask(second)) == ["may create roles", "has DELETE on executions"]
    assert asyncio.run(_ask(asyncio.run(setup.server_url(role.database_url, name)))) == []
    role.sql(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def versions(role: Role) -> list[tuple[object, ...]]:
    """Return what changes when tables are granted anew."""
    with psycopg.connect(role.database_url) as connection:
        query = "SELECT relname, xmin::text FROM pg_class WHERE relname = ANY(%s) ORDER BY 1"
        return connection.execute(query, (TABLES,)).fetchall()


def test_the_doctor_looks_at_the_role(role: Role) -> None:
    """What a role lacks fails, what it has too much is a warning; both with what mends it."""
    assert found_of(role)[0] == "fail"
    migrate(role)
    assert found_of(role) == ("ok", f"{role.name} may do what a server needs, and no more", "")
    role.sql("REVOKE SELECT ON price_books FROM {role}")
    assert found_of(role)[:2] == ("fail", f"{role.name} lacks SELECT on price_books")
    assert "gatekeeper migrate --grant" in found_of(role)[2]
    migrate(role)
    role.sql("GRANT DELETE ON balances TO {role}")
    assert found_of(role)[:2] == ("warn", f"{role.name} has DELETE on balances")


def found_of(role: Role) -> tuple[str, str, str]:
    """Return what the doctor finds of a role."""
    document = run("doctor", "--json", GATEKEEPER_DATABASE_URL=role.url).document
    (found,) = [found for found in document["checks"] if found["check"] == "role"]
    return found["state"], found["what"], found["fix"]
