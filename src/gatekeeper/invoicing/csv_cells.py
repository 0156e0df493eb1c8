"""How does a value become a cell that a spreadsheet takes for what it is?

A spreadsheet runs what begins like a formula, and names, labels and reasons are other people's words. Such text gets an
apostrophe in front, which spreadsheets do not show. Numbers are ours: they stay numbers, below zero as well.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import BinaryIO

Value = str | int | Decimal | datetime | date | None

# Those that spreadsheets know, their full-width forms, and what some of them drop before they look.
FORMULA_SIGNS = frozenset("=+-@\t\r\n＝＋－＠")  # noqa: RUF001 - the full-width forms are what is meant
APOSTROPHE = "'"
# Spreadsheets take a file for what their country once used unless it begins with this mark.
FOR_SPREADSHEETS = "utf-8-sig"
FOR_MACHINES = "utf-8"
# So many are in memory at a time, some 300 KiB.
ROWS_AT_ONCE = 1000


def text_cell(text: str) -> str:
    """Return text that no spreadsheet runs. Blanks in front hide nothing."""
    if not text or text[0].isalnum():
        return text
    return APOSTROPHE + text if text[0] in FORMULA_SIGNS or text.lstrip()[:1] in FORMULA_SIGNS else text


def cell(value: Value) -> str:
    """Return a value as a cell: amounts exact and without exponents, instants in UTC."""
    if isinstance(value, str):
        return text_cell(value)
    if isinstance(value, Decimal):
        # Zero has no sign, even where it was rounded from below.
        return f"{value or abs(value):f}"
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)


def write_table(
    out: BinaryIO, header: Sequence[str], rows: Iterable[Iterable[Value]], encoding: str = FOR_SPREADSHEETS
) -> None:
    """Write rows below their header as RFC 4180 has it, some at a time."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow(header)
    out.write(lines.getvalue().encode(encoding))
    _empty(lines)
    pending = iter(rows)
    while some := list(islice(pending, ROWS_AT_ONCE)):
        writer.writerows([[cell(value) for value in row] for row in some])
        out.write(lines.getvalue().encode())
        _empty(lines)


def _empty(lines: io.StringIO) -> None:
    lines.seek(0)
    lines.truncate()
