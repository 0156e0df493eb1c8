"""Is the database fit to be a ledger? It answers, is new enough, has our schema, prices and role, and keeps time."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from gatekeeper.database import data_dir
from gatekeeper.embedded import EmbeddedError, find_running
from gatekeeper.embedded.binaries import MAJOR_MIN
from gatekeeper.services.price_snapshot import snapshot_version
from gatekeeper.settings import Settings
from gatekeeper.storage import grants, price_books, roles, schema
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import CONNECT_TIMEOUT_S, Connection

from .database import why
from .findings import Finding, fail, ok, warn

# Clocks of machines that are set by NTP agree a hundred times better.
OFFSET_MAX_S = 2.0
VERSION_FACTOR = 10_000
MIGRATE = "gatekeeper migrate"
GRANT = "as the owner, gatekeeper migrate --grant {role}"
SEPARATE = f"serve as {grants.SERVER_ROLE}, which `gatekeeper migrate --grant` lets do no more than a server needs"


async def examine_database(settings: Settings) -> list[Finding]:
    """Return findings on the given database or the embedded one that runs; none is started for this."""
    try:
        url = _url(settings)
    except EmbeddedError as error:
        return [fail("database", str(error), "")]
    if url is None:
        return [warn("database", f"the embedded one does not run on {data_dir(settings)}", "gatekeeper serve")]
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
        ) as connection:
            # Whoever examines the embedded one comes as its owner, and its server does not.
            return await _examine(connection, as_server=settings.database_url is not None)
    except psycopg.Error as error:
        return [fail("database", f"cannot be used: {why(error)}", "start it, or give another --database-url")]


def _url(settings: Settings) -> str | None:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return find_running(data_dir(settings))


async def _examine(connection: Connection, *, as_server: bool) -> list[Finding]:
    findings = [_version(connection), await _clock(connection)]
    try:
        revision = await schema.current_revision(connection)
    except psycopg.errors.InsufficientPrivilege:
        return [*findings, await _role(connection)]
    findings.append(_schema(revision))
    if revision != schema.REVISION:
        return findings
    if as_server:
        findings.append(await _role(connection))
    # Without privileges, prices cannot be read either.
    return findings if findings[-1].state == "fail" else [*findings, await _prices(connection)]


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


async def _role(connection: Connection) -> Finding:
    """Compare what the role may do with what a server needs."""
    role = await roles.session_role(connection)
    if lacking := await grants.lacking(connection):
        return fail("role", f"{role} {', '.join(lacking)}", GRANT.format(role=roles.quoted(role)))
    if excessive := await grants.excessive(connection):
        return warn("role", f"{role} {', '.join(excessive)}", SEPARATE)
    return ok("role", f"{role} may do what a server needs, and no more")


async def _prices(connection: Connection) -> Finding:
    in_force, installed = await price_books.newest_version(connection), snapshot_version()
    if in_force is None:
        return fail("prices", "no price book", MIGRATE)
    if in_force != installed:
        return warn("prices", f"{in_force} is in force, {installed} is installed", MIGRATE)
    return ok("prices", in_force)
