"""How do entries of the audit trail get into a log that people read? As rows of a Markdown table, one for each.

The audit trail has the same entries for good, and exactly; such a file is for a look in between. It is cut off at 5 MB,
with five older ones beside it, and may miss what a process had just chained when it ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import structlog

from gatekeeper.domain.audit import Content
from gatekeeper.domain.money import plain
from gatekeeper.rotating_file import FILE_BYTES_MAX, RotatingFile

log = structlog.get_logger(__name__)

FOLDER = "budget"
# Rows between two looks at the size of the file.
ROWS_TOGETHER = 100
# How often it is said that writing fails.
TELL_INTERVAL_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a log is called and says; `cells` returns the cells of an entry, one for each of the columns."""

    file_name: str
    title: str
    introduction: str
    columns: Sequence[str]
    cells: Callable[[Content], Sequence[str]]

    def header(self) -> str:
        """Return what every file begins with."""
        head = f"| {' | '.join(self.columns)} |\n|{'---|' * len(self.columns)}\n"
        return f"# {self.title}\n\n{self.introduction}\n\n{head}"

    def row(self, entry: Content) -> str:
        """Return an entry as a line of the table."""
        return f"| {' | '.join(self.cells(entry))} |\n"


class MarkdownLog:
    """Appends entries to `<logs_dir>/budget/<file_name>`. Any number of processes may share the folder."""

    def __init__(self, logs_dir: Path, layout: Layout, *, bytes_max: int = FILE_BYTES_MAX) -> None:
        """Write below this folder, from the first entry on."""
        self._layout = layout
        self._file = RotatingFile(logs_dir / FOLDER / layout.file_name, header=layout.header(), bytes_max=bytes_max)
        self._told_at = -float(TELL_INTERVAL_S)

    async def write(self, entries: Sequence[Content]) -> None:
        """Append entries, each with what its seal covers. A failure is logged, once a minute, and not tried again."""
        if not entries:
            return
        try:
            await asyncio.to_thread(self._append, entries)
        except OSError as error:
            if time.monotonic() - self._told_at >= TELL_INTERVAL_S:
                self._told_at = time.monotonic()
                reason = error.strerror or str(error)
                log.warning("execution_log.failed", path=str(self._file.path), reason=reason)

    def _append(self, entries: Sequence[Content]) -> None:
        rows = [self._layout.row(entry) for entry in entries]
        self._file.append("".join(rows[first : first + ROWS_TOGETHER]) for first in range(0, len(rows), ROWS_TOGETHER))


def name_cell(name: str | None) -> str:
    """Write a name as code, in which nothing becomes a link, HTML or a cell of its own, whoever renders it."""
    if not name:
        return ""
    shown = name.replace("|", "¦").replace("`", "'")
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
    return f"`{shown}`"


def amount_cell(text: str | None) -> str:
    """Write an amount; what is none, as a name."""
    try:
        return plain(Decimal(text or 0))
    except InvalidOperation:
        return name_cell(text)


def instant_cell(instant: str | None) -> str:
    """Write an instant of UTC."""
    return (instant or "").replace("T", " ").removesuffix("+00:00")
