"""Can a server do all that it must as its own PostgreSQL role, and nothing that it must not?"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from gatekeeper.embedded import find_running
from gatekeeper.storage import grants
from gatekeeper.storage.tables import metadata
from gatekeeper_client import Client, Denied, Hold
from tests.acceptance.commands import run
from tests.conftest import Server, ServerFactory, served_url

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
CONNECTED = (
    "SELECT DISTINCT usename FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'gatekeeper-%'"
)
# One row of each table that is written once.
ROWS = """
INSERT INTO executions (organization, reservation_id, kind, day, month, committed_at, cost, reserved_amount, outcome)
VALUES ('acme', 'r', 'COMMIT', '2026-11-20', '2026-11', now(), 1, 1, 'SUCCEEDED');
INSERT INTO denials
    (organization, reservation_id, reason, requested, shortfall, denied_at, caller, actor, actor_role, peer, seal)
VALUES ('acme', 'r', 'OUT_OF_BUDGET', 1, 1, now(), '', '', '', '', decode(repeat('00', 36), 'hex'));
INSERT INTO audit_events (organization, action, occurred_at, subject, caller, actor, actor_role, peer, seal)
VALUES ('acme', 'BUDGET_SET', now(), 'budget', '', '', '', '', decode(repeat('00', 36), 'hex'));
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
    assert connected(database_url) == [(grants.SERVER_ROLE,)]


def connected(database_url: str) -> list[tuple[str]]:
    """Return the roles of a server's connections."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(CONNECTED).fetchall()


def test_the_server_on_an_embedded_database_is_not_its_owner(start_server: ServerFactory, tmp_path: Path) -> None:
    """`serve` without a database URL connects as the server's role; commands find the owner's URL."""
    server = start_server("--data-dir", str(tmp_path / "data"))
    owner_url = find_running(tmp_path / "data")
    assert owner_url is not None
    with Client(server.address) as client:
        assert isinstance(client.reserve("acme", amount="1"), Hold)
    assert connected(owner_url) == [(grants.SERVER_ROLE,)]
    changed = run("init", "--organization", "acme", "--expiry-policy", "charge", "--data-dir", str(tmp_path / "data"))
    assert changed.code == 0
    assert server.stop() == 0


def test_a_server_says_when_its_role_may_do_too_much(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """It serves as any role, and warns of what a superuser may; of its own role there is nothing to say."""
    start_server(database_url=database_url)
    start_server("--database-url", database_url)
    own, too_much = ((tmp_path / f"server-{number}.log").read_text() for number in range(2))
    assert "role_excessive" not in own
    (line,) = [line for line in too_much.splitlines() if "database.role_excessive" in line]
    assert grants.SUPERUSER in line


@pytest.mark.parametrize("lost", ["INSERT ON audit_events", "ALL ON ALL TABLES IN SCHEMA public"])
def test_a_server_whose_role_may_too_little_does_not_start(database_url: str, lost: str) -> None:
    """What it could not write would be refused call by call; it says so at once, with the command that helps."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"REVOKE {lost} FROM {grants.SERVER_ROLE}".encode())
    refused = run("serve", "--listen", "127.0.0.1:0", "--database-url", served_url(database_url))
    assert refused.code == 1
    assert f"lacks INSERT on {'audit_events' if 'audit' in lost else ''}" in refused.err
    assert 'gatekeeper migrate --grant "gatekeeper_server"' in refused.err
