"""Can a server do all that it must as its own PostgreSQL role, and nothing that it must not?"""

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
from gatekeeper.storage.tables import metadata
from gatekeeper_client import Client, Denied, Hold
from tests.acceptance.commands import failed, refused, run
from tests.conftest import Server, served_url, url_of

TABLES = [*metadata.tables, "alembic_version"]
WRITTEN_ONCE = ("executions", "denials", "audit_events", "audit_chain")
NEVER = (
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "DROP TABLE {table}",
    "ALTER TABLE {table} ADD COLUMN forged text",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "CREATE TRIGGER forging BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE RULE forging AS ON INSERT TO {table} DO INSTEAD NOTHING",
)
NEVER_AT_ALL = (
    "CREATE TABLE public.forged (id int)",
    "CREATE FUNCTION public.forged() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    "DROP FUNCTION refuse_change() CASCADE",
    "CREATE SCHEMA forged",
    "DROP SCHEMA public CASCADE",
    "SET session_replication_role = replica",
    "SET ROLE gatekeeper",
    "CREATE ROLE forged",
    "ALTER ROLE gatekeeper_server SUPERUSER",
    "SELECT setval(pg_get_serial_sequence('audit_events', 'event_id'), 1)",
    "COPY executions TO PROGRAM 'true'",
    "INSERT INTO alembic_version VALUES ('9999')",
    "INSERT INTO token_revisions (revision) VALUES (0)",
)
# Of the rows that may be changed, what may not: whose they are, and what was agreed on.
UNCHANGING = (
    "UPDATE organizations SET currency = 'EUR'",
    "UPDATE budgets SET organization = 'other'",
    "UPDATE balances SET period = '1999'",
    "UPDATE reservations SET organization = 'other'",
    "UPDATE reservations SET caller = ''",
    "UPDATE tokens SET role = 'OPERATOR'",
    "UPDATE tokens SET digest = ''",
    "UPDATE tokens SET expires_at = NULL",
    "UPDATE price_books SET document = '{}'",
    "UPDATE alembic_version SET version_num = '9999'",
)
# One row of each table that is written once.
ROWS = """
INSERT INTO executions (organization, reservation_id, kind, day, month, committed_at, cost, reserved_amount, outcome)
VALUES ('acme', 'r', 'COMMIT', '2026-11-20', '2026-11', now(), 1, 1, 'SUCCEEDED');
INSERT INTO denials (organization, reservation_id, reason, requested, shortfall, denied_at, seal)
VALUES ('acme', 'r', 'OUT_OF_BUDGET', 1, 1, now(), '');
INSERT INTO audit_events (organization, action, occurred_at, subject, seal)
VALUES ('acme', 'BUDGET_SET', now(), 'budget', '');
INSERT INTO audit_chain (organization, sequence, source, source_id, link)
VALUES ('acme', 1, 'EVENT', 1, sha256(''));
"""


def test_every_table_has_a_decision() -> None:
    """Each table of the code is in the table of privileges, and each column that may change is one of its."""
    assert set(grants.PRIVILEGES) == set(TABLES)
    for name, table in metadata.tables.items():
        key = set(table.primary_key.columns.keys())
        assert set(grants.PRIVILEGES[name].update) <= set(table.columns.keys()) - key, name
    assert not any(grants.PRIVILEGES[name].update for name in (*WRITTEN_ONCE, "excesses", "price_books"))


def test_the_server_cannot_change_what_is_written_once(database_url: str) -> None:
    """The database refuses its role every change of history, of tables, and of the guards in front of them."""
    statements = [statement.format(table=table) for table in TABLES for statement in NEVER]
    statements += [f"UPDATE {table} SET organization = 'other'" for table in (*WRITTEN_ONCE, "excesses")]
    with psycopg.connect(served_url(database_url), autocommit=True) as connection:
        assert [text for text in (*statements, *NEVER_AT_ALL, *UNCHANGING) if not is_refused(connection, text)] == []


def is_refused(connection: psycopg.Connection, statement: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except InsufficientPrivilege:
        return True
    return False


def test_not_even_the_owner_changes_what_is_written_once(database_url: str) -> None:
    """Triggers refuse a superuser's UPDATE, DELETE and TRUNCATE of rows that are written once."""
    with psycopg.connect(database_url) as connection:
        connection.execute(ROWS)
        for table in WRITTEN_ONCE:
            for text in (f"UPDATE {table} SET organization = 'b'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                assert is_refused(connection, text), text
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (1,)
        connection.rollback()


def test_the_server_can_do_all_that_it_must(server: Server, database_url: str) -> None:
    """A server that is connected as its role alone opens, reserves, settles, caps, sweeps and lists."""
    with Client(server.address) as client:
        holds = [client.reserve("acme", amount="1", campaign="spring", ttl=60) for _ in range(3)]
        committed, released, extended = (hold for hold in holds if isinstance(hold, Hold))
        committed.commit(amount="2")
        released.release()
        extended.extend(ttl=120)
        client.set_cap("acme", cap="4")
        client.set_cap("acme", scope=("CAMPAIGN", "spring"), cap="9", window="DAY")
        assert isinstance(client.reserve("acme", amount="5"), Denied)
        assert client.get_status("acme").can_execute
        assert len(list(client.list_reservations("acme"))) == 3
        assert [execution.reservation_id for execution in client.list_executions("acme")] == [committed.reservation_id]
        assert len(list(client.list_budgets("acme"))) == 2
    with psycopg.connect(database_url) as connection:
        who = connection.execute(
            "SELECT DISTINCT usename FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'gatekeeper-%'"
        )
        assert who.fetchall() == [(grants.SERVER_ROLE,)]


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
        (["ALTER ROLE {role} SUPERUSER CREATEROLE"], ["is a superuser"]),
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
