"""How does a command print? Tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# Tables keep their columns where no terminal says how wide it is.
WIDTH_OF_FILES = 240


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print the one document of a command."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def console() -> Console:
    """Return where tables are printed, which knows about colours and width."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES, highlight=False, markup=False, emoji=False)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[RenderableType]], *, right: Sequence[str] = ()) -> None:
    """Print rows under a head; the columns named in `right` are numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def shown(text: str) -> str:
    """Keep what others have written from steering the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
