"""How is a table drawn that runs over pages?

Its head stands on each page that it comes to. Names wrap in their column, figures stand below each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from .sheets import AMBER, HAIRLINE, INK, LEFT, MUTED, THOUSAND, Book, Colour, Sheet, Style

HEAD = Style(size=7.2, bold=True, colour=MUTED)
CELL = Style(size=8.6)
NOTE = Style(size=8.6, colour=MUTED)
# Between two columns, and above and below a row's text.
GAP = 10.0
PADDING = 4.4
HEAD_GAP = 5.0
# A row of more lines than this is drawn as several.
LINES_MAX = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. Figures are set to the right; a text wraps."""

    title: str
    width: float
    figures: bool = False
    muted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row's texts, one a column; whether it is marked at its edge, and how strong a bar stands below it (0 to 1)."""

    cells: Sequence[str]
    marked: bool = False
    strong: bool = False


class Table:
    """Draws rows into a book, one after the other."""

    def __init__(self, book: Book, columns: Sequence[Column], accent: Colour) -> None:
        """Draw the head where the book is, once there is a row below it."""
        self._book = book
        self._columns = columns
        self._accent = accent
        self._lefts = list(accumulate((column.width for column in columns), initial=LEFT))
        self._headed: Sheet | None = None

    def rows(self, rows: Iterable[Row]) -> None:
        """Draw rows."""
        for row in rows:
            self._row(row)

    def _head(self) -> None:
        book = self._book
        self._headed = book.sheet
        book.y += HEAD.leading
        for column, left in zip(self._columns, self._lefts, strict=False):
            if column.figures:
                book.sheet.right(left + column.width, book.y, column.title, HEAD, width=column.width - GAP)
            else:
                book.sheet.text(left, book.y, column.title, HEAD, width=column.width - GAP)
        book.y += HEAD_GAP
        book.sheet.rule(book.y, self._accent, thick=0.9)

    def _row(self, row: Row) -> None:
        texts = [
            [cell] if column.figures else self._wrapped(cell, column, strong=row.strong)
            for cell, column in zip(row.cells, self._columns, strict=True)
        ]
        count = max(map(len, texts))
        for begin in range(0, count, LINES_MAX):
            part = [lines[begin : begin + LINES_MAX] for lines in texts]
            self._draw(part, row, last=begin + LINES_MAX >= count)

    def _wrapped(self, cell: str, column: Column, *, strong: bool) -> Sequence[str]:
        return self._book.typesetter.wrap(cell, (column.width - GAP) * THOUSAND / CELL.size, bold=strong)

    def _draw(self, texts: Sequence[Sequence[str]], row: Row, *, last: bool) -> None:
        book = self._book
        height = max(map(len, texts)) * CELL.leading + 2 * PADDING
        is_headed = self._headed is book.sheet
        book.need(height if is_headed else height + HEAD.leading + HEAD_GAP)
        if self._headed is not book.sheet:
            self._head()
        for lines, column, left in zip(texts, self._columns, self._lefts, strict=False):
            style = Style(size=CELL.size, bold=row.strong, colour=MUTED if column.muted else INK)
            for number, line in enumerate(lines, 1):
                y = book.y + PADDING + number * CELL.leading - CELL.size * 0.38
                if column.figures:
                    book.sheet.right(left + column.width, y, line, style, width=column.width - GAP)
                else:
                    book.sheet.text(left, y, line, style, width=column.width - GAP)
        if row.marked:
            book.sheet.box(LEFT - 7, book.y + 3, 2.2, height - 6, AMBER)
        book.y += height
        if last:
            book.sheet.rule(book.y, HAIRLINE)
