"""How do several statements reach PostgreSQL, and their results us, in one round trip for little?

By libpq's pipeline mode, through psycopg's documented wrapper of it (`psycopg.pq`). The connection, its pool and its
types stay psycopg's; only its cursors are left out, which cost some 60 µs of processor time a statement, more than
everything else in a small batch together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import OperationalError
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from .connections import Connection

Row = tuple[Any, ...]
FINE = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})
PREPARED = "names_prepared_by_roundtrip"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that each connection prepares once, under `name`; parameters are $1, $2, …, all passed as text."""

    name: str
    sql: str


async def roundtrip(connection: Connection, *calls: tuple[Statement, Sequence[str]]) -> list[list[Row]]:
    """Execute statements in order; return the rows of each.

    Raises the first error of any, as psycopg would; the statements behind it are not executed then. Where the
    connection breaks or the wait is cancelled, it is closed: what the server did is not known.
    """
    pgconn = connection.pgconn
    known = _prepared_by(connection)
    try:
        pgconn.enter_pipeline_mode()
        news = {statement.name: statement for statement, _ in calls if statement.name not in known}
        for statement in news.values():
            pgconn.send_prepare(statement.name.encode(), statement.sql.encode())
        for statement, parameters in calls:
            values = [parameter.encode() for parameter in parameters]
            pgconn.send_query_prepared(statement.name.encode(), values, result_format=Format.BINARY)
        pgconn.pipeline_sync()
        results = await _receive(pgconn)
        pgconn.exit_pipeline_mode()
    except BaseException:
        pgconn.finish()
        raise
    for name, result in zip(news, results, strict=False):
        _check(result)
        known.add(name)
    return _rows(connection, results[len(news) :])


def _prepared_by(connection: Connection) -> set[str]:
    """Return the names that are prepared on a connection, a set that lives as long as it."""
    known: set[str] | None = getattr(connection, PREPARED, None)
    if known is None:
        known = set()
        setattr(connection, PREPARED, known)
    return known


async def _receive(pgconn: PGconn) -> list[PGresult]:
    """Return all results up to the end of the pipeline. Raises OperationalError where the connection breaks."""
    socket = pgconn.socket
    while pgconn.flush():
        # PostgreSQL may not read on until we have read what it has sent.
        await _readiness(socket, to_write=True)
        pgconn.consume_input()
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            await _readiness(socket)
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            if pgconn.status == ConnStatus.BAD:
                raise OperationalError(pgconn.get_error_message())
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return results
        else:
            results.append(result)


async def _readiness(socket: int, *, to_write: bool = False) -> None:
    """Wait until there is something to read, or also until something can be written.

    Each wait asks the event loop anew, because uvloop forgets a socket once it has seen an error on it: a connection
    that died would be waited for in vain. What libpq closes meanwhile must not stay with the loop either.
    """
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(socket, _wake, ready)
    try:
        if to_write:
            loop.add_writer(socket, _wake, ready)
        await ready
    finally:
        loop.remove_reader(socket)
        if to_write:
            loop.remove_writer(socket)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _rows(connection: Connection, results: Sequence[PGresult]) -> list[list[Row]]:
    transformer = Transformer(connection)
    rows: list[list[Row]] = []
    for result in results:
        _check(result)
        if result.ntuples:
            transformer.set_pgresult(result)
            rows.append(transformer.load_rows(0, result.ntuples, tuple))
        else:
            rows.append([])
    return rows


def _check(result: PGresult) -> None:
    if result.status not in FINE:
        raise error_from_result(result, encoding="utf-8")
