"""What may the server's PostgreSQL role do with each table, and what may a role do beyond that?

Whoever migrates owns the tables. The server connects as another role, which adds to the billing log and the audit trail
and can neither change nor remove what stands there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg import sql

from .connections import Connection, wrap_errors
from .roles import RoleError, quoted, session_role
from .schema import MIGRATION_LOCK

SERVER_ROLE = "gatekeeper_server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileges:
    """What the server may do with a table besides reading it: insert rows, and change these columns."""

    insert: bool = True
    update: tuple[str, ...] = ()

    def named(self) -> Iterable[str]:
        """Return each as `GRANT` writes it."""
        yield "SELECT"
        if self.insert:
            yield "INSERT"
        yield from map(update_of, self.update)


def update_of(column: str) -> str:
    """Return the privilege to change a column, as `GRANT` writes it."""
    return f"UPDATE ({column})"


READ = Privileges(insert=False)
WRITTEN_ONCE = Privileges()

# Nothing is granted on whole tables but SELECT and INSERT: a column that no statement of the server changes is one that
# it cannot. A row lock needs UPDATE of any one column.
PRIVILEGES: Mapping[str, Privileges] = {
    "alembic_version": READ,
    # Currency, time zone and policies are changed by `gatekeeper init`, as the owner.
    "organizations": Privileges(update=("price_version", "overrides_until", "billed_until")),
    "budgets": Privileges(
        update=(
            "cap",
            "enforcement",
            "thresholds",
            "frozen",
            "floor_normal",
            "floor_batch",
            "revision",
            "reason",
            "updated_at",
        ),
    ),
    "balances": Privileges(
        update=(
            "cap",
            "enforcement",
            "reserved",
            "spent",
            "excess",
            "would_deny_count",
            "overridden",
            "alerted_spent",
            "alerted_used",
            "alert_round",
        )
    ),
    "reservations": Privileges(
        update=(
            "amount",
            "state",
            "expires_at",
            "ended_at",
            "ended_by",
            "commit_digest",
            "charged",
            "committed",
            "late",
            "would_deny",
            "override_id",
            "override_amount",
            "override_parts",
        )
    ),
    "open_holds": Privileges(update=("holds",)),
    "executions": WRITTEN_ONCE,
    "excesses": WRITTEN_ONCE,
    "denials": WRITTEN_ONCE,
    "price_books": WRITTEN_ONCE,
    "tokens": Privileges(update=("revoked_at",)),
    # Its only row comes with the migration; the trigger on tokens counts in it.
    "token_revisions": Privileges(insert=False, update=("revision",)),
    "token_uses": Privileges(update=("last_used_at",)),
    "audit_events": WRITTEN_ONCE,
    "audit_chain": WRITTEN_ONCE,
    "audit_heads": Privileges(update=("sequence", "link")),
    "overrides": Privileges(
        update=(
            "max_amount",
            "reserved",
            "spent",
            "ttl",
            "state",
            "expires_at",
            "granted_by",
            "granted_by_id",
            "approved_by",
            "ended_by",
            "ended_at",
        )
    ),
    "alerts": Privileges(update=("dispatched_at",)),
    "alert_deliveries": Privileges(
        update=("state", "attempts", "next_attempt_at", "delivered_at", "last_error"),
    ),
    "alert_channels": Privileges(update=("last_seen_at",)),
    # Its only row comes with the migration.
    "installation": READ,
    "verifications": WRITTEN_ONCE,
    # Added to under a row lock of the mark; nothing is taken away.
    "spend_rollups": Privileges(
        update=(
            "entries",
            "input_tokens",
            "cached_input_tokens",
            "cache_write_input_tokens",
            "output_tokens",
            "conversions",
            "quality_scores",
            "impact_scores",
            "latencies",
            "cost",
            "reserved_amount",
            "overage_amount",
            "override_amount",
            "revenue",
            "quality_sum",
            "impact_sum",
            "latency_sum",
        )
    ),
    "spend_marks": Privileges(update=("recorded_before",)),
    "billing_profiles": Privileges(
        update=(
            "legal_name",
            "address",
            "city",
            "postal_code",
            "country",
            "vat_id",
            "email",
            "reference",
            "tax_rate_percent",
            "tax_category",
            "tax_note",
            "payment_days",
            "revision",
            "updated_at",
        )
    ),
    "invoices": WRITTEN_ONCE,
    "invoice_spans": WRITTEN_ONCE,
    "invoice_files": WRITTEN_ONCE,
}
WANTED = frozenset((table, privilege) for table, granted in PRIVILEGES.items() for privilege in granted.named())

# Reads whether a role exists, and why it must not be granted to: a superuser is refused nothing anyway, and an owner
# would lose what it owns the tables for.
OBSTACLES = """
SELECT r.rolsuper, r.rolname = session_user
    OR EXISTS (SELECT FROM pg_class WHERE oid = ANY(%(tables)s::text[]::regclass[]) AND relowner = r.oid)
FROM pg_roles r WHERE r.rolname = %(role)s
"""

# Reads what roles may do with our tables: by their own grants, those that they inherit, and PUBLIC's.
HELD_BY = """
WITH r AS (SELECT oid FROM pg_roles WHERE {whose})
SELECT t.name, p.privilege FROM r CROSS JOIN unnest(%(tables)s::text[]) AS t(name)
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p(privilege)
WHERE has_table_privilege(r.oid, t.name, p.privilege)
UNION
SELECT t.name, 'UPDATE (' || a.attname || ')' FROM r CROSS JOIN unnest(%(tables)s::text[]) AS t(name)
JOIN pg_attribute a ON a.attrelid = t.name::regclass AND a.attnum > 0 AND NOT a.attisdropped
WHERE has_column_privilege(r.oid, t.name, a.attname, 'UPDATE')
"""
# What a role has as it is, and what it could have: SET ROLE makes it any role that it belongs to, inheriting or not.
HELD = HELD_BY.format(whose="rolname = %(role)s")
WITHIN_REACH = HELD_BY.format(whose="pg_has_role(%(role)s::name, oid, 'MEMBER')")

# Reads which of our tables a role owns, or could by becoming the owner.
OWNED = """
SELECT t.name FROM unnest(%(tables)s::text[]) AS t(name) JOIN pg_class c ON c.oid = t.name::regclass
WHERE pg_has_role(%(role)s::name, c.relowner, 'MEMBER')
"""

# Reads what a role may do to get round its privileges on tables, by itself or by becoming a role that it belongs to.
SUPERUSER = "is a superuser, or a member of one"
WAYS_ROUND = f"""
WITH r AS (
    SELECT bool_or(rolsuper) AS super, bool_or(rolcreaterole) AS createrole, bool_or(rolreplication) AS replication,
        bool_or(rolbypassrls) AS bypassrls,
        bool_or(has_schema_privilege(
            oid, (SELECT relnamespace FROM pg_class WHERE oid = 'organizations'::regclass), 'CREATE'
        )) AS creates,
        bool_or(has_parameter_privilege(oid, 'session_replication_role', 'SET')) AS switches
    FROM pg_roles WHERE pg_has_role(%(role)s::name, oid, 'MEMBER')
)
SELECT way.what FROM r
JOIN pg_class c ON c.oid = 'organizations'::regclass
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_database d ON d.datname = current_database()
CROSS JOIN LATERAL (VALUES
    (r.super, '{SUPERUSER}'),
    (r.createrole, 'may create roles'),
    (r.replication, 'may replicate'),
    (r.bypassrls, 'bypasses row security'),
    (pg_has_role(%(role)s::name, d.datdba, 'MEMBER'), 'owns the database'),
    (pg_has_role(%(role)s::name, n.nspowner, 'MEMBER'), format('owns the schema %%I', n.nspname)),
    (r.creates, format('may create tables in the schema %%I', n.nspname)),
    (r.switches, 'may switch triggers off'),
    (pg_has_role(%(role)s::name, 'pg_execute_server_program', 'MEMBER'), 'may start programs on the database server'),
    (pg_has_role(%(role)s::name, 'pg_write_server_files', 'MEMBER'), 'may write files on the database server')
) AS way(is_open, what)
WHERE way.is_open
"""


async def require_grantable(connection: Connection, role: str) -> None:
    """Raise `RoleError` unless the role exists, and is neither a superuser nor the owner of our tables."""
    row = await (await connection.execute(OBSTACLES, {"role": role, "tables": await _tables(connection)})).fetchone()
    if row is None:
        raise RoleError(role, f"it does not exist; make it: CREATE ROLE {quoted(role)} LOGIN PASSWORD '…'")
    is_superuser, is_owner = row
    if is_superuser:
        raise RoleError(role, "it is a superuser, and is refused nothing; make another")
    if is_owner:
        raise RoleError(role, "it owns the tables, and is refused nothing; make another")


async def _tables(connection: Connection) -> list[str]:
    """Return those of our tables that are there."""
    cursor = await connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS t(name) WHERE to_regclass(name) IS NOT NULL", (list(PRIVILEGES),)
    )
    return [row[0] for row in await cursor.fetchall()]


async def grant(connection: Connection, role: str) -> None:
    """Give a role what a server needs and take away what else it was granted, in one transaction.

    To be called as the owner. Raises `RoleError`.
    """
    with wrap_errors():
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            await require_grantable(connection, role)
            await connection.execute(await _grants(connection, role))


async def _grants(connection: Connection, role: str) -> sql.Composed:
    cursor = await connection.execute(
        "SELECT current_database(), nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = 'organizations'::regclass"
    )
    row = await cursor.fetchone()
    assert row is not None
    grantee = sql.Identifier(role)
    statements = [
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(row[0]), grantee),
        sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(sql.Identifier(row[1]), grantee),
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(row[1]), grantee),
    ]
    for table, privileges in PRIVILEGES.items():
        named = sql.SQL(", ".join(privileges.named()))
        statements += [
            sql.SQL("REVOKE ALL ON {} FROM {}").format(sql.Identifier(table), grantee),
            sql.SQL("GRANT {} ON {} TO {}").format(named, sql.Identifier(table), grantee),
        ]
    return sql.SQL("; ").join(statements)


async def privileges_of(connection: Connection, role: str) -> set[tuple[str, str]]:
    """Return what a role may do with our tables without becoming another: pairs of a table and a privilege."""
    return await _held(connection, HELD, role)


async def _held(connection: Connection, query: str, role: str) -> set[tuple[str, str]]:
    cursor = await connection.execute(query.encode(), {"role": role, "tables": await _tables(connection)})
    return {(table, privilege) for table, privilege in await cursor.fetchall()}


async def lacking(connection: Connection) -> list[str]:
    """Return what a server needs and the connection's role may not do, in short sentences without a subject."""
    return _sentences("lacks", WANTED - await privileges_of(connection, await session_role(connection)))


async def excessive(connection: Connection) -> list[str]:
    """Return what the connection's role may do and a server should not, in short sentences without a subject.

    What counts is the role that logged in, for it can become itself again, and every role that it belongs to.
    """
    role = await session_role(connection)
    asked = {"role": role, "tables": await _tables(connection)}
    ways = [row[0] for row in await (await connection.execute(WAYS_ROUND, asked)).fetchall()]
    if SUPERUSER in ways:
        return [SUPERUSER]
    owned = {row[0] for row in await (await connection.execute(OWNED, asked)).fetchall()}
    within_reach = await _held(connection, WITHIN_REACH, role)
    beyond = {(table, privilege) for table, privilege in within_reach - WANTED if table not in owned}
    return [*ways, *([f"owns {_listed(owned)}"] if owned else []), *_sentences("has", beyond)]


def _sentences(verb: str, privileges: Iterable[tuple[str, str]]) -> list[str]:
    tables: dict[str, set[str]] = defaultdict(set)
    for table, privilege in privileges:
        tables[privilege.partition(" ")[0]].add(table)
    return [f"{verb} {privilege} on {_listed(names)}" for privilege, names in sorted(tables.items())]


def _listed(tables: set[str]) -> str:
    return "every table" if tables == PRIVILEGES.keys() else ", ".join(sorted(tables))
