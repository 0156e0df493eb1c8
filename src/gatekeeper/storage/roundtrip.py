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
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from .connections import Connection

Row = tuple[Any, ...]
READS, ENDS = ExecStatus.TUPLES_OK, ExecStatus.PIPELINE_SYNC
FINE = frozenset({READS, ExecStatus.COMMAND_OK})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that each connection prepares once, under `name`; parameters are $1, $2, …, all passed as text."""

    name: str
    sql: str


async def roundtrip(connection: Connection, *calls: tuple[Statement, Sequence[str]]) -> list[list[Row]]:
    """Execute statements in order; return the rows of each.

    Raises the first error of any, as psycopg would; the statements behind it are not executed then. Cancelled, it
    closes the connection: what the server did is not known.
    """
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        prepared = [_send(connection, pgconn, statement, parameters) for statement, parameters in calls]
        pgconn.pipeline_sync()
        results = await _receive(pgconn)
        pgconn.exit_pipeline_mode()
    except BaseException:
        pgconn.finish()
        raise
    return _rows(connection, pgconn, results, prepared)


def _send(connection: Connection, pgconn: PGconn, statement: Statement, parameters: Sequence[str]) -> bool:
    """Send one statement; prepare it before if this connection has not. Return whether it was prepared."""
    name = statement.name.encode()
    known = _prepared_by(connection)
    first = name not in known
    if first:
        pgconn.send_prepare(name, statement.sql.encode())
        known.add(name)
    pgconn.send_query_prepared(name, [parameter.encode() for parameter in parameters], result_format=Format.BINARY)
    return first


def _prepared_by(connection: Connection) -> set[bytes]:
    known: set[bytes] | None = getattr(connection, "prepared_names", None)
    if known is None:
        known = set()
        connection.prepared_names = known  # type: ignore[attr-defined]
    return known


async def _receive(pgconn: PGconn) -> list[PGresult]:
    """Return all results up to the end of the pipeline."""
    loop = asyncio.get_running_loop()
    results: list[PGresult] = []
    ready = asyncio.Event()
    loop.add_reader(pgconn.socket, ready.set)
    try:
        while pgconn.flush():
            # What PostgreSQL sends meanwhile must be read, or neither side gets on.
            await asyncio.sleep(0)
            pgconn.consume_input()
        while True:
            if pgconn.is_busy():
                ready.clear()
                await ready.wait()
                pgconn.consume_input()
                continue
            result = pgconn.get_result()
            if result is None:
                continue
            if result.status == ENDS:
                return results
            results.append(result)
    finally:
        if pgconn.status == 0:
            loop.remove_reader(pgconn.socket)


def _rows(
    connection: Connection, pgconn: PGconn, results: Sequence[PGresult], prepared: Sequence[bool]
) -> list[list[Row]]:
    rows: list[list[Row]] = []
    transformer = Transformer(connection)
    following = iter(results)
    for was_prepared in prepared:
        if was_prepared:
            _check(connection, next(following, None))
        result = _check(connection, next(following, None))
        if result.status != READS or not result.ntuples:
            rows.append([])
            continue
        transformer.set_pgresult(result)
        rows.append(transformer.load_rows(0, result.ntuples, tuple))
    return rows


def _check(connection: Connection, result: PGresult | None) -> PGresult:
    if result is None:
        message = "the connection was lost"
        raise OperationalError(message)
    if result.status not in FINE:
        _prepared_by(connection).clear()
        raise error_from_result(result, encoding="utf-8")
    return result
