"""How are results shown and kept, and which of them are targets?"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One figure that has a limit: at least it where `at_least`, else at most."""

    what: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Tell whether the figure keeps to its limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def row(self) -> list[str]:
        """Return it as a row of the table of targets."""
        sign = "≥" if self.at_least else "≤"
        limit, measured = (f"{_number(figure)} {self.unit}".rstrip() for figure in (self.limit, self.measured))
        return [self.what, f"{sign} {limit}", measured, "met" if self.met else "MISSED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text below a title and a header."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return the table, its first column to the left and all others to the right."""
        lines = [list(self.header), *map(list, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = [
            "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
            for cells in lines
        ]
        return "\n".join([self.title, "", padded[0], "-" * len(padded[0]), *padded[1:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a scenario found: tables for people, targets, and every round's figures."""

    scenario: str
    tables: Sequence[Table]
    targets: Sequence[Target]
    figures: Sequence[dict[str, Any]]
    failed_calls: int = 0
    notes: Sequence[str] = field(default_factory=tuple)


def targets_table(outcomes: Sequence[Outcome]) -> Table:
    """Return all targets with what was measured."""
    rows = [target.row() for outcome in outcomes for target in outcome.targets]
    return Table(title="Targets", header=["figure", "target", "measured", ""], rows=rows)


def machine(database_url: str) -> dict[str, Any]:
    """Return what the figures depend on, and nothing that names the machine."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "postgres": row[0].split()[0] if row else "",
        "load_before": round(os.getloadavg()[0], 2),
    }


def save(path: Path, machine: dict[str, Any], effort: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Write everything as JSON."""
    document = {
        "machine": machine,
        "effort": effort,
        "scenarios": [
            {
                "scenario": outcome.scenario,
                "failed_calls": outcome.failed_calls,
                "targets": [asdict(target) | {"met": target.met} for target in outcome.targets],
                "tables": [asdict(table) for table in outcome.tables],
                "notes": list(outcome.notes),
                "rounds": list(outcome.figures),
            }
            for outcome in outcomes
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.2f}"
