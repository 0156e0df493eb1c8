"""Which schema does the database have, and how does it get the one that this version knows?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gatekeeper

from .connections import Connection, wrap_errors

if TYPE_CHECKING:
    from alembic.config import Config

# The revision that this version of the server reads and writes.
REVISION = "0004"

# Whoever migrates holds this PostgreSQL advisory lock ("gatekeep" in ASCII), so that two never do at once.
MIGRATION_LOCK = 0x6761_7465_6B65_6570

# A migration that cannot get its locks gives up, before the calls that queue behind it do.
LOCK_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 600


class SchemaError(Exception):
    """The database's schema is {found}, this version knows {known}. {hint}"""

    def __init__(self, found: str) -> None:
        """Say which way out there is."""
        hint = (
            "Run `gatekeeper migrate`." if found < REVISION else "Install the version that migrated it, or a newer one."
        )
        found = found or "empty"
        super().__init__((SchemaError.__doc__ or "").format(found=found, known=REVISION, hint=hint))


async def current_revision(connection: Connection) -> str:
    """Return the database's revision; empty for an empty database."""
    with wrap_errors():
        cursor = await connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
        row = await cursor.fetchone()
        if row is None or not row[0]:
            return ""
        cursor = await connection.execute("SELECT version_num FROM alembic_version")
        row = await cursor.fetchone()
    return str(row[0]) if row else ""


async def require_current(connection: Connection) -> None:
    """Raise `SchemaError` unless the database has the schema that this version knows."""
    if (found := await current_revision(connection)) != REVISION:
        raise SchemaError(found)


def migrate(database_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`, in one transaction.

    Raises `sqlalchemy.exc.OperationalError` where the database is away or a lock is not to be had in time.
    """
    from alembic import command
    from sqlalchemy import create_engine, make_url, text

    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'"))
            connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Return Alembic's configuration; it needs no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.set_main_option("path_separator", "os")
    return config


def migrations_dir() -> Path:
    """Return where the migrations are: inside the installed package, or at the top of a checkout."""
    package = Path(gatekeeper.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parents[1] / "migrations"
