"""What do spreadsheets get of an invoice, and what can nobody make them run?"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import BinaryIO

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.domain.reservation import Attribution, Execution
from gatekeeper.invoicing.csv_cells import FORMULA_SIGNS, ROWS_AT_ONCE, Value, cell, text_cell
from gatekeeper.invoicing.csv_files import EXECUTION_COLUMNS, LINE_COLUMNS, write_executions, write_lines
from tests.unit.billed import credit_note, execution, invoice, month

ATTACKS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "＝1", "＋1", "－1", "＠A1"]
HARMLESS = ["", "spring", "a=b", "1-2", "'quoted", "größe", "(1)", '"="', "e-mail@example.com"]

names = st.text(max_size=12) | st.sampled_from(ATTACKS)
costs = st.decimals("-1000", "1000", places=9).map(str)


def rows(write: Callable[[BinaryIO], None]) -> list[dict[str, str]]:
    """Return what a reader finds in a file."""
    out = io.BytesIO()
    write(out)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode("utf-8-sig"), newline="")))


def total(found: list[dict[str, str]], column: str) -> Decimal:
    return sum((Decimal(row[column]) for row in found), Decimal(0))


def test_text_is_never_run() -> None:
    """What begins like a formula, behind blanks or in full width too, gets an apostrophe; nothing else does."""
    assert [text_cell(text) for text in ATTACKS] == [f"'{text}" for text in ATTACKS]
    assert [text_cell(text) for text in HARMLESS] == HARMLESS


def test_numbers_stay_numbers() -> None:
    """Amounts are exact, plain and unguarded, below zero as well."""
    values: list[Value] = [Decimal("-0.000000001"), Decimal("1E+6"), Decimal("-0E-9"), -7, True, None]
    assert [cell(value) for value in values] == ["-0.000000001", "1000000", "0.000000000", "-7", "true", ""]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(names, names, costs), max_size=8))
def test_rows_come_back_as_they_were(entries: list[tuple[str, str, str]]) -> None:
    """Whatever stands in names, a reader finds the same rows, no cell is a formula, and they add up to the ledger."""
    executions = [
        execution(number, cost=cost, attribution=Attribution(campaign=campaign), labels={"key": label})
        for number, (campaign, label, cost) in enumerate(entries)
    ]
    document = invoice(executions)
    found = rows(lambda out: write_executions(document, executions, out))
    assert [row["campaign"] for row in found] == [text_cell(campaign) for campaign, _, _ in entries]
    assert not [row for row in found if row["campaign"][:1] in FORMULA_SIGNS or row["labels"][:1] in FORMULA_SIGNS]
    assert total(found, "cost") == document.ledger_amount
    lines = rows(lambda out: write_lines(document, out))
    assert total(lines, "amount") == document.net_amount
    assert total(lines, "cost") == document.ledger_amount


def test_each_entry_of_the_log_is_a_row() -> None:
    """A row names the month that it counts for, marks what is late, and has all of the entry."""
    executions = month()
    found = rows(lambda out: write_executions(invoice(executions), executions, out))
    assert tuple(found[0]) == EXECUTION_COLUMNS
    assert [row["kind"] for row in found[-3:]] == ["EXPIRY_CHARGE", "REVERSAL", "COMMIT"]
    assert {(row["period"], row["late"]) for row in found} == {("2026-11", "false"), ("2026-10", "true")}
    assert (found[0]["committed_at"], found[0]["cost"]) == ("2026-11-02T12:00:00.500000Z", "0.000000001")
    assert found[-1]["committed_late"] == "true"


def test_a_credit_note_takes_every_row_back() -> None:
    """Its rows are the invoice's with figures below zero: both add up to nothing."""
    executions = month()
    document = invoice(executions)
    back = credit_note(document)
    there = rows(lambda out: write_executions(document, executions, out))
    again = rows(lambda out: write_executions(back, executions, out))
    for column in ("cost", "input_tokens", "output_tokens", "override_amount"):
        assert total(there, column) + total(again, column) == 0
    lines = rows(lambda out: write_lines(back, out))
    assert tuple(lines[0]) == LINE_COLUMNS
    assert total(lines, "amount") == -document.net_amount


def test_rows_are_not_gathered() -> None:
    """However many there are, no more than some are in memory: the first are written before the last are read."""
    written: list[int] = []

    class Sink(io.BytesIO):
        def write(self, piece: object) -> int:
            written.append(read[-1] if read else 0)
            return super().write(piece)  # type: ignore[arg-type]

    read: list[int] = []

    def executions() -> Iterator[Execution]:
        for number in range(3 * ROWS_AT_ONCE):
            read.append(number)
            yield execution(number)

    write_executions(invoice(), executions(), Sink())
    assert written == [0, ROWS_AT_ONCE - 1, 2 * ROWS_AT_ONCE - 1, 3 * ROWS_AT_ONCE - 1]


def test_a_file_is_for_spreadsheets_first() -> None:
    """It begins with the mark by which spreadsheets know UTF-8, its lines end as RFC 4180 wants, and it repeats."""
    document, files = invoice(month()), []
    for _ in range(2):
        out = io.BytesIO()
        write_lines(document, out)
        files.append(out.getvalue())
    assert files[0] == files[1]
    assert files[0].startswith(b"\xef\xbb\xbfinvoice,")
    assert files[0].count(b"\n") == files[0].count(b"\r\n") == 1 + len(document.lines)
