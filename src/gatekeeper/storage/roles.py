"""Which PostgreSQL role is somebody, and how does one come into being that can log in and nothing else?"""

from __future__ import annotations

from psycopg import sql

from .connections import Connection


class RoleError(Exception):
    """The role {role} cannot serve: {reason}."""

    def __init__(self, role: str, reason: str) -> None:
        """Say why, with what to do about it."""
        super().__init__((RoleError.__doc__ or "").format(role=quoted(role), reason=reason))


def quoted(role: str) -> str:
    """Return a role's name as SQL has it."""
    return sql.Identifier(role).as_string()


async def session_role(connection: Connection) -> str:
    """Return the role that logged in."""
    row = await (await connection.execute("SELECT session_user::text")).fetchone()
    assert row is not None
    return str(row[0])


async def renew(connection: Connection, role: str, password: str) -> None:
    """Make a role that can log in and nothing else, unless it is there, and give it a new password.

    The password is hashed here: it is in no statement, hence in no log.
    """
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    name = sql.Identifier(role)
    async with connection.transaction():
        known = await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
        if await known.fetchone() is None:
            await connection.execute(sql.SQL("CREATE ROLE {}").format(name))
        await connection.execute(
            sql.SQL(
                "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
            ).format(name, sql.Literal(verifier))
        )
