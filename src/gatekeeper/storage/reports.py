"""How are reservations and executions listed? Newest first, by keyset, with any filters, without locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, select, tuple_
from sqlalchemy.dialects import postgresql

from gatekeeper.domain.reservation import Execution, Reservation

from . import rows, tables
from .connections import Connection

DIALECT = postgresql.dialect(paramstyle="pyformat")
PERIOD_DAY_LENGTH = len("2026-11-20")


async def list_reservations(
    connection: Connection,
    organization: str,
    *,
    filters: Mapping[str, str],
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Reservation]:
    """Return reservations behind `after` (created_at, reservation_id); `filters` by column, by the newest-first index."""
    table = tables.reservations
    statement = _newest(
        table, rows.RESERVATION_COLUMNS, organization, filters, (table.c.created_at, table.c.reservation_id), after
    )
    return [rows.reservation(row) for row in await _fetch(connection, statement.limit(limit))]


async def list_executions(
    connection: Connection,
    organization: str,
    *,
    filters: Mapping[str, str],
    after: tuple[datetime, str, str] | None,
    limit: int,
) -> list[Execution]:
    """Return executions behind `after` (committed_at, reservation_id, kind); `filters` by column, or `period`."""
    table = tables.executions
    key = (table.c.committed_at, table.c.reservation_id, table.c.kind)
    statement = _newest(table, rows.EXECUTION_COLUMNS, organization, filters, key, after)
    return [rows.execution(row) for row in await _fetch(connection, statement.limit(limit))]


def _newest(
    table: Table,
    columns: str,
    organization: str,
    filters: Mapping[str, str],
    key: Sequence[ColumnElement[Any]],
    after: Sequence[Any] | None,
) -> Select[Any]:
    statement = select(*(table.c[name] for name in columns.split(", "))).where(table.c.organization == organization)
    for name, wanted in filters.items():
        if wanted:
            statement = statement.where(_period(table, wanted) if name == "period" else table.c[name] == wanted)
    if after is not None:
        statement = statement.where(tuple_(*key) < tuple_(*after))
    return statement.order_by(*(column.desc() for column in key))


def _period(table: Table, period: str) -> ColumnElement[bool]:
    column = table.c.day if len(period) == PERIOD_DAY_LENGTH else table.c.month
    return column == period


async def _fetch(connection: Connection, statement: Select[Any]) -> list[Any]:
    compiled = statement.compile(dialect=DIALECT)
    cursor = await connection.execute(str(compiled), compiled.params, binary=True)  # type: ignore[arg-type]
    return await cursor.fetchall()
