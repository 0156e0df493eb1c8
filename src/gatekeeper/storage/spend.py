"""What do executions add up to? Sums over the billing log, exact at any instant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from gatekeeper.domain.invoices import Span
from gatekeeper.domain.spend import SpendRow, Totals

from .connections import Connection

# What executions can be grouped by.
DIMENSIONS = ("month", "day", "department", "campaign", "agent", "agent_type", "model", "override_id")

# A call that was charged on expiry and committed later has three entries; the reversal takes the charge back.
COUNT = "CASE kind WHEN 'REVERSAL' THEN -1 ELSE 1 END"

# Adds up the executions of one span, by the newest-first index from the span's instant on.
ADD_UP = """
SELECT {columns}, count(*), coalesce(sum({count}), 0),
       {outcomes},
       sum(cost), coalesce(sum(cost) FILTER (WHERE late), 0),
       coalesce(sum(reserved_amount) FILTER (WHERE kind = 'COMMIT'), 0),
       coalesce(sum(greatest(cost - reserved_amount, 0)) FILTER (WHERE kind = 'COMMIT'), 0),
       sum(override_amount),
       sum(input_tokens), sum(cached_input_tokens), sum(cache_write_input_tokens), sum(output_tokens),
       sum(conversions), sum(revenue),
       coalesce(sum(quality_score), 0), count(quality_score), coalesce(sum(impact_score), 0), count(impact_score),
       coalesce(sum(latency), interval '0'), count(latency)
FROM executions
WHERE organization = %(organization)s AND ({spans})
GROUP BY {columns}
ORDER BY {columns}
"""
OUTCOMES = ("SUCCEEDED", "FAILED", "CANCELLED", "UNKNOWN")


async def add_up(connection: Connection, organization: str, spans: Sequence[Span], by: Sequence[str]) -> list[SpendRow]:
    """Return what the executions of some spans come to, grouped by some of DIMENSIONS and in their order."""
    columns = sql.SQL(", ").join(map(sql.Identifier, by))
    outcomes = sql.SQL(", ").join(
        sql.SQL("coalesce(sum({count}) FILTER (WHERE outcome = {outcome}), 0)").format(
            count=sql.SQL(COUNT), outcome=sql.Literal(outcome)
        )
        for outcome in OUTCOMES
    )
    conditions = sql.SQL(" OR ").join(
        sql.SQL("month = {} AND committed_at >= {} AND committed_at < {}").format(
            span.period, span.recorded_from, span.recorded_before
        )
        for span in spans
    )
    query = sql.SQL(ADD_UP).format(columns=columns, count=sql.SQL(COUNT), outcomes=outcomes, spans=conditions)
    cursor = await connection.execute(query, {"organization": organization})
    return [_row(row, len(by)) for row in await cursor.fetchall()]


def _row(row: Sequence[Any], width: int) -> SpendRow:
    names = Totals.__dataclass_fields__
    return SpendRow(tuple(row[:width]), Totals(**_counted(dict(zip(names, row[width:], strict=True)))))


def _counted(figures: dict[str, Any]) -> dict[str, Any]:
    """Take what PostgreSQL counts in NUMERIC (sums of bigints) for the whole numbers that they are."""
    whole = {name for name, field in Totals.__dataclass_fields__.items() if field.type == "int"}
    return {name: int(figure) if name in whole else figure for name, figure in figures.items()}
