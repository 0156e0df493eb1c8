"""Can a table be read on a narrow terminal?"""

from __future__ import annotations

import io
import sys

import pytest
from rich.text import Text

from gatekeeper.cli.output import WIDTH_OF_FILES, print_table

COLUMNS = ("Name", "Day", "Cost", "Tokens", "Note")
ROWS = [["spring-sale-of-the-year-2026", "2026-11-30", "1234567.123456789", "1,000,000", ""]] * 2


class Terminal(io.StringIO):
    """What a terminal is to a program."""

    def isatty(self) -> bool:
        """Tell that it is one."""
        return True


def printed(monkeypatch: pytest.MonkeyPatch, width: int, *, onto: io.StringIO | None = None) -> list[str]:
    """Return the lines of a table on a terminal so wide."""
    out = onto or Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_table(COLUMNS, ROWS, right=("Cost", "Tokens"), optional=("Tokens", "Day"))
    return Text.from_ansi(out.getvalue()).plain.splitlines()


@pytest.mark.parametrize(
    ("width", "left_out"), [(80, []), (75, []), (74, ["Tokens"]), (60, ["Tokens", "Day"]), (30, ["Tokens", "Day"])]
)
def test_columns_that_do_not_fit_are_left_out(monkeypatch: pytest.MonkeyPatch, width: int, left_out: list[str]) -> None:
    """Numbers, dates and heads stay on one line at any width, and what is missing is named."""
    lines = printed(monkeypatch, width)
    text = "\n".join(lines)
    shown = [name for name in ("Name", "Day", "Cost", "Tokens") if name not in left_out]
    assert [line.split() for line in lines if "Name" in line] == [shown]
    assert text.count("1234567.123456789") == 2
    assert text.count("1,000,000") == 2 * ("Tokens" in shown)
    assert text.count("2026-11-30") == 2 * ("Day" in shown)
    assert lines[-1].startswith("Left out for want of width") == bool(left_out)
    assert max(map(len, lines[:5])) <= max(width, 42)


def test_a_pipe_gets_all_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column without a word is none; nothing else is left out, or folded."""
    lines = printed(monkeypatch, 30, onto=io.StringIO())
    assert lines[1].split() == ["Name", "Day", "Cost", "Tokens"]
    assert lines[3].split() == ROWS[0][:4]
    assert max(map(len, lines)) < WIDTH_OF_FILES
