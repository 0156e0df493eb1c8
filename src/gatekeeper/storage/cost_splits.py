"""Which of a month's executions are shared by the rules, and whose are the others?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import sql

from gatekeeper.domain.cost_splits import SplitRule
from gatekeeper.domain.invoices import Span

from .connections import Connection
from .statements import SLACK

# Adds up a month's executions: those that fall under a rule by the first of them, the others by campaign or department.
# No lock; by executions_newest_idx from the month's beginning on, since none is recorded before it.
SHARED = """
SELECT rule, CASE WHEN rule IS NULL THEN whose ELSE '' END, sum(cost)
FROM (
    SELECT CASE {cases} END AS rule, {column} AS whose, cost
    FROM executions
    WHERE organization = %(organization)s AND month = %(month)s
        AND committed_at >= %(since)s AND committed_at < %(before)s
) AS found
GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What falls under each rule, by its index, and what is `own`, by whose it is."""

    own: Mapping[str, Decimal]
    shared: Mapping[int, Decimal]


async def add_up_shared(
    connection: Connection,
    organization: str,
    recorded: Span,
    rules: Sequence[SplitRule],
    *,
    column: str,
    begin: datetime,
) -> Costs:
    """Return a month's costs by rule, else by `column`: campaign or department. `begin` is when the month does."""
    parameters: dict[str, Any] = {
        "organization": organization,
        "month": recorded.period,
        "since": max(recorded.recorded_from, begin - SLACK),
        "before": recorded.recorded_before,
    }
    for index, rule in enumerate(rules):
        parameters |= {_label(index): rule.label, _value(index): rule.value}
    query = sql.SQL(SHARED).format(
        cases=sql.SQL(" ").join(_case(index, rule) for index, rule in enumerate(rules)), column=sql.Identifier(column)
    )
    # No two of these statements are alike: counting how often each is used would only keep it.
    found = await (await connection.execute(query, parameters, prepare=False)).fetchall()
    return Costs(
        own={whose: cost for rule, whose, cost in found if rule is None},
        shared={rule: cost for rule, _, cost in found if rule is not None},
    )


def _case(index: int, rule: SplitRule) -> sql.Composed:
    label = sql.Placeholder(_label(index))
    matched = sql.SQL("labels ->> {} = {}") if rule.value else sql.SQL("labels ? {}")
    names = (label, sql.Placeholder(_value(index))) if rule.value else (label,)
    return sql.SQL("WHEN {} THEN {}").format(matched.format(*names), sql.Literal(index))


def _label(index: int) -> str:
    return f"label_{index}"


def _value(index: int) -> str:
    return f"value_{index}"
