"""How are reservations and executions listed? Newest first, by keyset, with any filters, without locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from gatekeeper.domain.reservation import Execution, Reservation

from . import rows
from .connections import Connection

# A page of a table in the order of its newest-first index, behind a position in it.
PAGE = """
SELECT {columns} FROM {table} WHERE organization = %(organization)s AND {conditions}
ORDER BY {order} LIMIT %(limit)s
"""
RESERVATION_KEY = ("created_at", "reservation_id")
EXECUTION_KEY = ("committed_at", "reservation_id", "kind")
PERIOD_DAY_LENGTH = len("2026-11-20")


async def list_reservations(
    connection: Connection,
    organization: str,
    *,
    filters: Mapping[str, str],
    after: Sequence[Any] | None,
    limit: int,
) -> list[Reservation]:
    """Return reservations behind `after` (RESERVATION_KEY); `filters` by column, empty ones are left out."""
    page = _page("reservations", rows.RESERVATION_COLUMNS, filters, RESERVATION_KEY, after)
    parameters = _parameters(organization, filters, RESERVATION_KEY, after, limit)
    cursor = await connection.execute(page, parameters, binary=True)
    return [rows.reservation(row) for row in await cursor.fetchall()]


async def list_executions(
    connection: Connection,
    organization: str,
    *,
    filters: Mapping[str, str],
    after: Sequence[Any] | None,
    limit: int,
) -> list[Execution]:
    """Return executions behind `after` (EXECUTION_KEY); `filters` by column or `period`, empty ones are left out."""
    page = _page("executions", rows.EXECUTION_COLUMNS, filters, EXECUTION_KEY, after)
    parameters = _parameters(organization, filters, EXECUTION_KEY, after, limit)
    cursor = await connection.execute(page, parameters, binary=True)
    return [rows.execution(row) for row in await cursor.fetchall()]


def _page(
    table: str, columns: str, filters: Mapping[str, str], key: Sequence[str], after: Sequence[Any] | None
) -> sql.Composed:
    conditions: list[sql.Composable] = [
        sql.SQL("{} = {}").format(sql.Identifier(_column(name, wanted)), sql.Placeholder(name))
        for name, wanted in filters.items()
        if wanted
    ]
    names = [sql.Identifier(name) for name in key]
    if after is not None:
        position = sql.SQL(", ").join(sql.Placeholder(f"after_{name}") for name in key)
        conditions.append(sql.SQL("({}) < ({})").format(sql.SQL(", ").join(names), position))
    return sql.SQL(PAGE).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns.split(", "))),
        table=sql.Identifier(table),
        conditions=sql.SQL(" AND ").join(conditions or [sql.SQL("true")]),
        order=sql.SQL(", ").join(sql.SQL("{} DESC").format(name) for name in names),
    )


def _column(name: str, wanted: str) -> str:
    if name != "period":
        return name
    return "day" if len(wanted) == PERIOD_DAY_LENGTH else "month"


def _parameters(
    organization: str, filters: Mapping[str, str], key: Sequence[str], after: Sequence[Any] | None, limit: int
) -> dict[str, Any]:
    position = {f"after_{name}": part for name, part in zip(key, after or (), strict=False)}
    return {**filters, **position, "organization": organization, "limit": limit}
