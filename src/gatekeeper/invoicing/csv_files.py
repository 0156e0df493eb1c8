"""Which rows does an invoice have in a spreadsheet? One for each line, or one for each entry of the billing log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Line
from gatekeeper.domain.reservation import Execution

from .csv_cells import Value, write_table

LINE_COLUMNS = (
    "invoice",
    "kind",
    "organization",
    "line",
    "description",
    "period",
    "late",
    "campaign",
    "agent_type",
    "calls",
    "input_tokens",
    "output_tokens",
    "cost",
    "amount",
    "currency",
    "rounding",
)
EXECUTION_COLUMNS = (
    "invoice",
    "organization",
    "period",
    "day",
    "committed_at",
    "reservation_id",
    "kind",
    "outcome",
    "department",
    "campaign",
    "agent",
    "agent_type",
    "run",
    "task",
    "model",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "cost",
    "currency",
    "late",
    "committed_late",
    "override_id",
    "override_amount",
    "price_version",
    "labels",
)
LABELS = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


def write_lines(document: InvoiceDocument, out: BinaryIO) -> None:
    """Write a row for each line; `amount` adds up to the net amount, `cost` to the ledger's."""
    write_table(out, LINE_COLUMNS, (_line(document, line) for line in document.lines))


def write_executions(document: InvoiceDocument, executions: Iterable[Execution], out: BinaryIO) -> None:
    """Write a row for each entry of the billing log that is on the invoice; `cost` adds up to the ledger's.

    On a credit note the same entries stand with their figures below zero.
    """
    write_table(out, EXECUTION_COLUMNS, _executions(document, executions))


def _line(document: InvoiceDocument, line: Line) -> tuple[Value, ...]:
    return (
        document.number,
        document.kind,
        document.organization,
        line.position,
        line.description,
        line.period,
        line.late,
        line.campaign,
        line.agent_type,
        line.calls,
        line.input_tokens,
        line.output_tokens,
        line.cost,
        line.amount,
        document.currency,
        line.rounding,
    )


def _executions(document: InvoiceDocument, executions: Iterable[Execution]) -> Iterator[tuple[Value, ...]]:
    back = document.kind is InvoiceKind.CREDIT_NOTE
    for execution in executions:
        yield _execution(document, _taken_back(execution) if back else execution)


def _taken_back(execution: Execution) -> Execution:
    return execution._replace(
        input_tokens=-execution.input_tokens,
        cached_input_tokens=-execution.cached_input_tokens,
        cache_write_input_tokens=-execution.cache_write_input_tokens,
        output_tokens=-execution.output_tokens,
        cost=-execution.cost,
        override_amount=-execution.override_amount,
    )


def _execution(document: InvoiceDocument, execution: Execution) -> tuple[Value, ...]:
    whose = execution.attribution
    return (
        document.number,
        document.organization,
        execution.periods.month,
        execution.periods.day,
        execution.committed_at,
        execution.reservation_id,
        execution.kind,
        execution.outcome,
        whose.department,
        whose.campaign,
        whose.agent,
        whose.agent_type,
        whose.run,
        whose.task,
        execution.model,
        execution.input_tokens,
        execution.cached_input_tokens,
        execution.cache_write_input_tokens,
        execution.output_tokens,
        execution.cost,
        document.currency,
        execution.periods.month != document.period,
        execution.late,
        execution.override_id,
        execution.override_amount,
        execution.price_version,
        LABELS.encode(dict(execution.labels)) if execution.labels else "",
    )
