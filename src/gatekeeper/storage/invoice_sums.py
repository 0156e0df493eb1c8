"""Which executions are on an invoice, and what do they come to? Read in one snapshot, on a connection of its own.

What was recorded before the ledger's time that an invoice is made at is final: whoever writes executions does so under
the organization's lock, at a time that does not step back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from gatekeeper.domain.invoices import BEGINNING, Billed, Charge, DayTotal, ModelTotal, OverrideTotal, Span
from gatekeeper.domain.reservation import Execution

from . import rows
from .audit_chain import BY_INDEX
from .connections import CONNECT_TIMEOUT_S, Connection

# A call that was charged on expiry and committed later has three entries; the reversal takes the charge back.
CALLS = "sum(CASE kind WHEN 'REVERSAL' THEN -1 ELSE 1 END)::bigint"
# How long a statement may take: ten million executions take some minutes.
STATEMENT_TIMEOUT = "30min"
# One snapshot for all statements. Nobody waits for it but who asked: processors and memory are left to calls.
BEGIN = f"""
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'; SET LOCAL idle_in_transaction_session_timeout = '1h';
SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL IntervalStyle = 'postgres';
SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex';
SET LOCAL jit = off; SET LOCAL work_mem = '32MB'; SET LOCAL max_parallel_workers_per_gather = 0
"""

# Adds the executions of some spans up, in all the ways that an invoice shows, in one go: by the newest-first index
# from the spans' instants on.
ADD_UP = f"""
SELECT grouping(month, day, model, override_id), month, campaign, agent_type, day, model, override_id,
       {CALLS}, sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cost), sum(override_amount)
FROM executions
WHERE organization = %(organization)s AND ({{spans}})
GROUP BY GROUPING SETS ((month, campaign, agent_type), (day), (model), (override_id))
"""
# What `grouping` says of each.
BY_LINE, BY_DAY, BY_MODEL, BY_OVERRIDE = 0b0111, 0b1011, 0b1101, 0b1110

# Hashes the rows of some spans, in the order of the newest-first index, day by day as they were recorded (by UTC): so
# that no more than a day's hashes are in memory at once, and nothing is sorted.
LEDGER_HASH = """
SELECT sha256(coalesce(string_agg(of_day.hash, ''::bytea ORDER BY begun), ''::bytea)), coalesce(sum(of_day.entries), 0)
FROM generate_series(%(first)s::timestamptz, %(last)s::timestamptz, interval '1 day') AS days(begun)
CROSS JOIN LATERAL (
    SELECT sha256(string_agg(
        sha256(convert_to(ROW({columns})::text, 'UTF8')), ''::bytea ORDER BY committed_at, reservation_id, kind
    )) AS hash, count(*) AS entries
    FROM executions
    WHERE organization = %(organization)s AND committed_at >= begun AND committed_at < begun + interval '1 day'
        AND ({spans})
) AS of_day
WHERE of_day.entries > 0
"""

# Who granted the overrides that were used, and why. By primary key.
OVERRIDES = "SELECT override_id, reason, granted_by FROM overrides WHERE organization = %s AND override_id = ANY(%s)"

# The executions themselves, in the order of the newest-first index, oldest first.
EXECUTIONS = """
SELECT {columns} FROM executions WHERE organization = {organization} AND ({spans})
ORDER BY committed_at, reservation_id, kind
"""
# Those of a day that have everything in common which FOCUS tells of, added up.
DAILY = f"""
SELECT day, month, department, campaign, agent, agent_type, model, {CALLS}, count(*),
       sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cost)
FROM executions WHERE organization = {{organization}} AND ({{spans}})
GROUP BY day, month, department, campaign, agent, agent_type, model
ORDER BY day, month, department COLLATE "C", campaign COLLATE "C", agent COLLATE "C", agent_type COLLATE "C",
         model COLLATE "C"
"""
# Rows that a cursor brings at a time.
ROWS_TOGETHER = 2000
# An execution of a month is recorded after that month has begun, wherever on earth.
CALENDARS_APART = timedelta(days=2)
FIRST_MONTH = f"{BEGINNING:%Y-%m}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyCost:
    """Executions of a day that differ in nothing that FOCUS tells of."""

    day: str
    period: str
    department: str
    campaign: str
    agent: str
    agent_type: str
    model: str
    calls: int
    entries: int
    input_tokens: int
    output_tokens: int
    cost: Any


@asynccontextmanager
async def snapshot(database_url: str) -> AsyncIterator[Connection]:
    """Yield a connection of its own, in a transaction that sees one state of the database and changes nothing."""
    async with (
        await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="gatekeeper-invoices"
        ) as connection,
        connection.transaction(),
    ):
        await connection.execute(BEGIN)
        yield connection


async def read_billed(connection: Connection, organization: str, period: str, spans: Sequence[Span]) -> Billed:
    """Return what the executions of some spans come to, on an invoice of `period`."""
    found = await _add_up(connection, organization, spans)
    await connection.execute(BY_INDEX)
    ledger_hash, entries = await _hash(connection, organization, spans)
    return Billed(
        spans=spans,
        charges=_charges(period, found[BY_LINE]),
        days=_days(found[BY_DAY]),
        models=_models(found[BY_MODEL]),
        overrides=await _overrides(connection, organization, found[BY_OVERRIDE]),
        entries=entries,
        ledger_hash=ledger_hash,
    )


async def _add_up(connection: Connection, organization: str, spans: Sequence[Span]) -> dict[int, list[Sequence[Any]]]:
    """Return the sums by each way of grouping."""
    query = sql.SQL(ADD_UP).format(spans=_within(spans))
    cursor = await connection.execute(query, {"organization": organization})
    found: dict[int, list[Sequence[Any]]] = {BY_LINE: [], BY_DAY: [], BY_MODEL: [], BY_OVERRIDE: []}
    async for grouped, *row in cursor:
        found[grouped].append(row)
    return found


def _charges(period: str, found: Sequence[Sequence[Any]]) -> Sequence[Charge]:
    """Return what makes lines: the invoice's own month first, then earlier ones, the newest first; then by name."""
    charges = [
        Charge(
            period=month,
            late=month != period,
            campaign=campaign,
            agent_type=agent_type,
            calls=calls,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost=cost,
        )
        for month, campaign, agent_type, _, _, _, calls, input_tokens, output_tokens, cost, _ in found
    ]
    by_name = sorted(charges, key=lambda charge: (charge.campaign, charge.agent_type))
    return tuple(sorted(by_name, key=lambda charge: charge.period, reverse=True))


def _days(found: Sequence[Sequence[Any]]) -> Sequence[DayTotal]:
    return tuple(
        sorted((DayTotal(day=row[3], calls=row[6], cost=row[9]) for row in found), key=lambda total: total.day)
    )


def _models(found: Sequence[Sequence[Any]]) -> Sequence[ModelTotal]:
    totals = (
        ModelTotal(model=row[4], calls=row[6], input_tokens=row[7], output_tokens=row[8], cost=row[9]) for row in found
    )
    return tuple(sorted(totals, key=lambda total: total.model))


async def _overrides(
    connection: Connection, organization: str, found: Sequence[Sequence[Any]]
) -> Sequence[OverrideTotal]:
    used = {row[5]: (row[6], row[10]) for row in found if row[5]}
    cursor = await connection.execute(OVERRIDES, (organization, [*used]))
    granted = {row[0]: row[1:] for row in await cursor.fetchall()}
    return tuple(
        OverrideTotal(
            override_id=override_id,
            reason=granted.get(override_id, ("", ""))[0],
            granted_by=granted.get(override_id, ("", ""))[1],
            calls=calls,
            amount=amount,
        )
        for override_id, (calls, amount) in sorted(used.items())
    )


async def _hash(connection: Connection, organization: str, spans: Sequence[Span]) -> tuple[str, int]:
    """Return the hash of the rows of some spans, in hex, and how many there are."""
    narrowed = [_narrowed(span) for span in spans]
    begin = min((span.recorded_from for span in narrowed), default=None)
    query = sql.SQL(LEDGER_HASH).format(columns=_columns(), spans=_within(spans))
    parameters = {
        "organization": organization,
        "first": begin and begin.replace(hour=0, minute=0, second=0, microsecond=0),
        "last": max((span.recorded_before for span in narrowed), default=None),
    }
    row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return bytes(row[0]).hex(), int(row[1])


async def read_executions(
    connection: Connection, organization: str, spans: Sequence[Span]
) -> AsyncIterator[Sequence[Execution]]:
    """Yield the executions of some spans, some together, in the order that they were recorded in."""
    query = _statement(EXECUTIONS, organization, spans, columns=_columns())
    async for found in _stream(connection, query):
        yield [rows.execution(row) for row in found]


async def read_daily(
    connection: Connection, organization: str, spans: Sequence[Span]
) -> AsyncIterator[Sequence[DailyCost]]:
    """Yield what the executions of some spans come to, day by day, some together."""
    names = DailyCost.__dataclass_fields__
    async for found in _stream(connection, _statement(DAILY, organization, spans)):
        yield [DailyCost(**dict(zip(names, row, strict=True))) for row in found]


async def _stream(connection: Connection, query: sql.Composed) -> AsyncIterator[Sequence[Sequence[Any]]]:
    async with connection.cursor(name="invoice") as cursor:
        await cursor.execute(query, binary=True)
        while found := await cursor.fetchmany(ROWS_TOGETHER):
            yield found


def _statement(text: str, organization: str, spans: Sequence[Span], **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(text).format(organization=sql.Literal(organization), spans=_within(spans), **parts)


def _columns() -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, rows.EXECUTION_COLUMNS.split(", ")))


def _within(spans: Sequence[Span]) -> sql.Composable:
    """Return the condition that an execution is of one of some spans."""
    conditions: list[sql.Composable] = [
        sql.SQL("month = {} AND committed_at >= {} AND committed_at < {}").format(
            span.period, span.recorded_from, span.recorded_before
        )
        for span in map(_narrowed, spans)
    ]
    return sql.SQL(" OR ").join(conditions or [sql.SQL("false")])


def _narrowed(span: Span) -> Span:
    """Return the same span without what was recorded before its month, which is nothing."""
    if span.period < FIRST_MONTH:
        return span
    begun = datetime.fromisoformat(f"{span.period}-01T00:00:00+00:00") - CALENDARS_APART
    recorded_from = max(span.recorded_from, begun)
    return Span(
        period=span.period, recorded_from=recorded_from, recorded_before=max(span.recorded_before, recorded_from)
    )
