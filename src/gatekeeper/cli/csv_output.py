"""How are rows printed for spreadsheets, without a cell that one of them would take for a formula?"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeAlias

from gatekeeper.domain.money import plain
from gatekeeper.invoicing.csv_cells import text_cell

Cell: TypeAlias = str | int | float | Decimal | None


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a head and rows as RFC 4180 has them, each as it comes."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([safe(cell) for cell in row])


def safe(cell: Cell) -> Cell:
    """Put an apostrophe before text that begins like a formula; numbers stay as they are, without an exponent."""
    if isinstance(cell, Decimal):
        return plain(cell)
    return text_cell(cell) if isinstance(cell, str) else cell
