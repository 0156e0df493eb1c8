"""How does a command print? Tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, RenderableType
    from rich.table import Table

T = TypeVar("T")

# Tables keep their columns where no terminal says how wide it is.
WIDTH_OF_FILES = 240
# A date and its time stand on one line, and names are not cut into syllables.
FOLDED_WIDTH_MIN = 20
# A name may be so long before another column is left out for it.
NAME_WIDTH = 32
# Between two columns.
GAP = 3
# The longest amount there is, with its currency; what is longer is a sentence.
NUMBER_WIDTH_MAX = 34


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print the one document of a command."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def console() -> Console:
    """Return where tables are printed, which knows about colours and width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES, highlight=False, markup=False, emoji=False)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[RenderableType]],
    *,
    right: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Print rows under heads that differ, without the columns that say nothing; those in `right` are numbers.

    Where a terminal is too narrow, those in `optional` are left out, from the first on, until the others fit.
    """
    widths = {name: _width(name, [row[place] for row in rows]) for place, name in enumerate(columns)}
    kept = [name for place, name in enumerate(columns) if not rows or any(str(row[place]) for row in rows)]
    printer, left_out = console(), list[str]()
    for name in [name for name in optional if name in kept] if printer.is_terminal else []:
        if _needed({name: widths[name] for name in kept}, right, NAME_WIDTH) <= printer.width:
            break
        kept.remove(name)
        left_out.append(name)
    narrow = {name: widths[name] for name in kept}
    # What does not fit even so is broken by the terminal, as what comes from a pipe would be.
    printer.width = max(printer.width, _needed(narrow, right, FOLDED_WIDTH_MIN))
    places = [place for place, name in enumerate(columns) if name in kept]
    printer.print(_table(narrow, [[row[place] for place in places] for row in rows], right))
    if left_out:
        printer.print(f"Left out for want of width: {', '.join(name or 'the bar' for name in left_out)}.")


def _width(name: str, cells: Sequence[RenderableType]) -> int:
    from rich.cells import cell_len

    return max(cell_len(str(cell)) for cell in (name, *cells))


def _needed(widths: Mapping[str, int], right: Sequence[str], folded: int) -> int:
    """Return how wide a table is whose texts fold at so many characters."""
    least = [min(width, NUMBER_WIDTH_MAX if name in right else folded) for name, width in widths.items()]
    return sum(least) + GAP * len(widths) - 1


def _table(widths: Mapping[str, int], rows: Sequence[Sequence[RenderableType]], right: Sequence[str]) -> Table:
    """Return a table whose heads, numbers and short texts stand on one line; longer texts fold."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name, width in widths.items():
        least = min(width, NUMBER_WIDTH_MAX if name in right else FOLDED_WIDTH_MIN)
        side: JustifyMethod = "right" if name in right else "left"
        table.add_column(name, justify=side, overflow="fold", no_wrap=width <= least, min_width=least)
    for row in rows:
        table.add_row(*row)
    return table


def shown(text: str) -> str:
    """Keep what others have written from steering the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextmanager
def counted(items: Iterable[T], most: int | None) -> Iterator[Iterator[T]]:
    """Yield the items, and show on a terminal how many have come, of at most so many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not (sys.stderr.isatty()),
    ) as bar:
        yield iter(bar.track(items, total=most, description=""))
