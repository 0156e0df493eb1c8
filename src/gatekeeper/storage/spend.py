"""What do executions add up to? Sums over the billing log, exact at any instant.

They are made of rollups, and of the executions that the rollups lack (domain/rollups.py), in one statement: another
process may move executions from here to there at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import sql

from gatekeeper.domain.invoices import Span
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.rollups import Dates, Edge, Parts, parts_of
from gatekeeper.domain.spend import SpendRow, Totals

from .connections import Connection, first
from .rollups import MEASURES

# What executions can be grouped by.
DIMENSIONS = ("month", "day", "department", "campaign", "agent", "agent_type", "model", "override_id")

# A call that was charged on expiry and committed later has three entries; the reversal takes the charge back.
COUNT = "sum(CASE kind WHEN 'REVERSAL' THEN -entries ELSE entries END)"

# The figures of Totals, in its order.
FIGURES: Mapping[str, str] = {
    "entries": "sum(entries)",
    "calls": COUNT,
    **{
        outcome.lower(): f"coalesce({COUNT} FILTER (WHERE outcome = '{outcome}'), 0)"
        for outcome in ("SUCCEEDED", "FAILED", "CANCELLED", "UNKNOWN")
    },
    "cost": "sum(cost)",
    "late_amount": "coalesce(sum(cost) FILTER (WHERE late), 0)",
    "reserved_amount": "coalesce(sum(reserved_amount) FILTER (WHERE kind = 'COMMIT'), 0)",
    "overage_amount": "coalesce(sum(overage_amount) FILTER (WHERE kind = 'COMMIT'), 0)",
    **{
        name: f"sum({name})"
        for name in (
            "override_amount",
            "input_tokens",
            "cached_input_tokens",
            "cache_write_input_tokens",
            "output_tokens",
            "conversions",
            "revenue",
            "quality_sum",
            "quality_scores",
            "impact_sum",
            "impact_scores",
            "latency_sum",
            "latencies",
        )
    },
}

# The figures that are whole numbers.
WHOLE = frozenset(field.name for field in fields(Totals) if field.type == "int")
# What is enough to say what days have cost, and what it is made of.
COST_FIGURES, COST_MEASURES = ("entries", "calls", "cost"), ("entries", "cost")

# Rollups of a month, by spend_rollups_pkey.
ROLLED_UP = sql.SQL("SELECT {columns}, kind, outcome, late, {measures} FROM spend_rollups WHERE {condition}")

# Executions of a month that were recorded between two instants, by executions_newest_idx.
COUNTED = sql.SQL("SELECT {columns}, kind, outcome, late, {measures} FROM executions WHERE {condition}")

# Adds parts up. The mark that the parts were made for must be the mark of this statement's snapshot; else there are no
# sums, nothing is read for them, and the mark says by what to make the parts anew.
SUMS = sql.SQL("""
WITH mark AS MATERIALIZED (
    SELECT (SELECT recorded_before FROM spend_marks WHERE organization = {organization}) AS recorded_before
), sums AS MATERIALIZED (
    SELECT {columns}, {figures} FROM ({parts}) AS parts
    WHERE (SELECT recorded_before FROM mark) IS NOT DISTINCT FROM {mark}::timestamptz
    GROUP BY {columns} HAVING sum(entries) > 0
)
SELECT mark.recorded_before, listed.* FROM mark LEFT JOIN ({listed}) AS listed ON true
""")
ALL = sql.SQL("SELECT {columns}, {names} FROM sums ORDER BY {columns}")

# A page of the dearest, and what all of them cost.
DEAREST = sql.SQL("""
SELECT {columns}, {names}, (SELECT sum(cost) FROM sums) AS whole FROM sums
WHERE {behind} ORDER BY cost DESC, {columns} LIMIT {limit}
""")

MARK = "SELECT recorded_before FROM spend_marks WHERE organization = %s"

# Counts denials between two instants, by denials_newest_idx.
DENIALS = "SELECT count(*) FROM denials WHERE organization = %s AND denied_at >= %s AND denied_at < %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What executions are grouped by, which of FIGURES are asked for, and the MEASURES that these are made of."""

    by: tuple[str, ...]
    figures: tuple[str, ...] = tuple(FIGURES)
    measures: tuple[str, ...] = tuple(MEASURES)


async def count_denials(connection: Connection, organization: str, since: datetime, until: datetime) -> int:
    """Return how many calls were denied from one instant on and before another."""
    cursor = await connection.execute(DENIALS, (organization, since, until))
    count: int = first(await cursor.fetchone())
    return count


async def add_up(connection: Connection, organization: str, spans: Sequence[Span], by: Sequence[str]) -> list[SpendRow]:
    """Return what the executions of some spans come to, grouped by some of DIMENSIONS and in their order.

    Spans must not overlap. In any transaction or none: all of it is from one snapshot.
    """
    wanted = Wanted(by=tuple(by))
    return [_row(row, wanted) for row in await _sum(connection, organization, spans, wanted, _all(wanted))]


async def add_up_costs(
    connection: Connection, organization: str, spans: Sequence[Span], by: Sequence[str]
) -> list[SpendRow]:
    """Return the same with entries, calls and cost alone, which takes half the time."""
    wanted = Wanted(by=tuple(by), figures=COST_FIGURES, measures=COST_MEASURES)
    return [_row(row, wanted) for row in await _sum(connection, organization, spans, wanted, _all(wanted))]


async def list_dearest(
    connection: Connection,
    organization: str,
    span: Span,
    by: Sequence[str],
    *,
    after: tuple[Decimal, Sequence[str]] | None,
    limit: int,
) -> tuple[list[SpendRow], Decimal]:
    """Return those behind a cost and key, the dearest first; and what all that are listed here cost."""
    wanted = Wanted(by=tuple(by))
    behind: sql.Composable = sql.SQL("true")
    if after is not None:
        position = sql.SQL(", ").join(map(sql.Literal, after[1]))
        behind = sql.SQL("(-cost, {}) > ({}, {})").format(_list(by), -after[0], position)
    listed = DEAREST.format(columns=_list(by), names=_list(wanted.figures), behind=behind, limit=limit)
    found = await _sum(connection, organization, [span], wanted, listed)
    return [_row(row[:-1], wanted) for row in found], found[0][-1] if found else ZERO


async def _sum(
    connection: Connection, organization: str, spans: Sequence[Span], wanted: Wanted, listed: sql.Composable
) -> list[Sequence[Any]]:
    """Return what `listed` selects of the sums of some spans."""
    if not spans:
        return []
    row = await (await connection.execute(MARK, (organization,))).fetchone()
    mark: datetime | None = row[0] if row else None
    while True:
        statement = SUMS.format(
            organization=organization,
            mark=mark,
            columns=_list(wanted.by),
            figures=_named(FIGURES, wanted.figures),
            parts=_union(organization, [parts_of(span, mark) for span in spans], wanted),
            listed=listed,
        )
        # No two of these statements are alike: counting how often each is used would only keep it.
        found = await (await connection.execute(statement, prepare=False)).fetchall()
        if found[0][0] == mark:
            return [row[1:] for row in found if row[1] is not None]
        mark = found[0][0]


def _union(organization: str, parts: Sequence[Parts], wanted: Wanted) -> sql.Composable:
    selects = [_rolled_up(organization, part.dates, wanted) for part in parts if part.dates]
    selects += [_counted(organization, edge, wanted) for part in parts for edge in part.edges]
    # A span before anything of its month was recorded has no parts.
    nothing = ROLLED_UP.format(columns=_list(wanted.by), measures=_list(wanted.measures), condition=sql.SQL("false"))
    return sql.SQL(" UNION ALL ").join(selects or [nothing])


def _rolled_up(organization: str, dates: Dates, wanted: Wanted) -> sql.Composed:
    condition = sql.SQL("organization = {} AND month = {} AND recorded_on >= {}").format(
        organization, dates.period, dates.recorded_from
    )
    if dates.recorded_before is not None:
        condition += sql.SQL(" AND recorded_on < {}").format(dates.recorded_before)
    return ROLLED_UP.format(columns=_list(wanted.by), measures=_list(wanted.measures), condition=condition)


def _counted(organization: str, edge: Edge, wanted: Wanted) -> sql.Composed:
    condition = sql.SQL("organization = {} AND month = {} AND committed_at >= {} AND committed_at < {}").format(
        organization, edge.period, edge.recorded_from, edge.recorded_before
    )
    signed = {name: each if edge.sign > 0 else f"-({each})" for name, each in MEASURES.items()}
    return COUNTED.format(columns=_list(wanted.by), measures=_named(signed, wanted.measures), condition=condition)


def _all(wanted: Wanted) -> sql.Composed:
    return ALL.format(columns=_list(wanted.by), names=_list(wanted.figures))


def _list(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _named(expressions: Mapping[str, str], names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(f"{expressions[name]} AS {name}") for name in names)


def _row(row: Sequence[Any], wanted: Wanted) -> SpendRow:
    """Read a row; PostgreSQL counts in NUMERIC what are sums of whole numbers."""
    key, figures = row[: len(wanted.by)], row[len(wanted.by) :]
    named: dict[str, Any] = {
        name: int(each) if name in WHOLE else each for name, each in zip(wanted.figures, figures, strict=True)
    }
    return SpendRow(tuple(key), Totals(**named))
