"""Is the database fit to be a ledger? It answers, is new enough, has our schema and prices, and keeps time with us."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from gatekeeper.embedded import EmbeddedError, default_data_dir, find_running
from gatekeeper.embedded.binaries import MAJOR_MIN
from gatekeeper.services.price_snapshot import snapshot_version
from gatekeeper.settings import Settings
from gatekeeper.storage import price_books, schema
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, Connection

from .database import why
from .findings import Finding, fail, ok, warn

# Clocks of machines that are set by NTP agree a hundred times better.
OFFSET_MAX_S = 2.0
VERSION_FACTOR = 10_000
MIGRATE = "gatekeeper migrate"


async def examine_database(settings: Settings) -> list[Finding]:
    """Return findings on the given database or the embedded one that runs; none is started for this."""
    try:
        url = _url(settings)
    except EmbeddedError as error:
        return [fail("database", str(error), "")]
    if url is None:
        place = settings.data_dir or default_data_dir()
        return [warn("database", f"the embedded one does not run on {place}", "gatekeeper serve")]
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        ) as connection:
            return await _examine(connection)
    except psycopg.Error as error:
        return [fail("database", f"cannot be used: {why(error)}", "start it, or give another --database-url")]


def _url(settings: Settings) -> str | None:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return find_running(settings.data_dir or default_data_dir())


async def _examine(connection: Connection) -> list[Finding]:
    revision = await schema.current_revision(connection)
    findings = [_version(connection), await _clock(connection), _schema(revision)]
    return [*findings, await _prices(connection)] if revision == schema.REVISION else findings


def _version(connection: Connection) -> Finding:
    info = connection.info
    name = f"PostgreSQL {info.parameter_status('server_version')} on {info.host}:{info.port}"
    if info.server_version < MAJOR_MIN * VERSION_FACTOR:
        return fail("database", name, f"use PostgreSQL {MAJOR_MIN} or newer")
    return ok("database", name)


async def _clock(connection: Connection) -> Finding:
    """Compare the ledger's clock with this machine's at the middle of the question's way."""
    await database_now(connection)  # the first statement of a connection takes longer
    before = datetime.now(UTC)
    there = await database_now(connection)
    after = datetime.now(UTC)
    offset_s = (there - (before + (after - before) / 2)).total_seconds()
    what = f"the database's is {abs(offset_s):.3f} s {'ahead' if offset_s > 0 else 'behind'}"
    if abs(offset_s) > OFFSET_MAX_S:
        return warn("clock", what, "set both by NTP; the ledger goes by the database's")
    return ok("clock", what)


def _schema(revision: str) -> Finding:
    if revision == schema.REVISION:
        return ok("schema", f"revision {revision}")
    return fail("schema", *str(schema.SchemaError(revision)).split(". ", 1))


async def _prices(connection: Connection) -> Finding:
    in_force, installed = await price_books.newest_version(connection), snapshot_version()
    if in_force is None:
        return fail("prices", "no price book", MIGRATE)
    if in_force != installed:
        return warn("prices", f"{in_force} is in force, {installed} is installed", MIGRATE)
    return ok("prices", in_force)
