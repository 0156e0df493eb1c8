"""What does an invoice show of the money: its lines, its totals, and in which other ways they add up?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Line
from gatekeeper.domain.money import ZERO

from .sheets import AMBER, LEFT, MUTED, RIGHT, THOUSAND, Book, Colour, Style
from .tables import Column, Row, Table
from .words import amount, count, exact, payment, tax_title, total_title

HEADING = Style(size=11.5, bold=True)
TEXT = Style(size=8.8)
SMALL = Style(size=7.6, colour=MUTED)
HASH = Style(size=7, colour=MUTED)
LATE = "Late: used in an earlier month, recorded after that month's invoice."
# Where the totals' names begin.
TOTALS_LEFT = LEFT + 255
# What is said of the payment stands beside them, if that takes no more lines than they do.
TERMS_WIDTH, TERMS_LINES_MAX = 215.0, 6


def lines(book: Book, document: InvoiceDocument, accent: Colour) -> None:
    """Draw the lines, or that there are none."""
    numbers = 13 + 5 * max(len(str(len(document.lines))), 3)
    table = Table(
        book,
        [
            Column(title="#", width=numbers, muted=True),
            Column(title="Description", width=235.28 - numbers),
            Column(title="Calls", width=52, figures=True),
            Column(title="Input tokens", width=68, figures=True),
            Column(title="Output tokens", width=68, figures=True),
            Column(title=f"Amount ({document.currency})", width=72, figures=True),
        ],
        accent,
    )
    table.rows(_line(line, document.digits) for line in document.lines)
    if not document.lines:
        table.rows([Row(cells=("", "Nothing was used.", "", "", "", amount(ZERO, document.digits)))])
    if any(line.late for line in document.lines):
        book.need(20)
        book.sheet.box(LEFT - 7, book.y + 8, 2.2, 8, AMBER)
        book.sheet.text(LEFT, book.y + 15, LATE, SMALL)
        book.y += 18


def _line(line: Line, digits: int) -> Row:
    if line.rounding:
        return Row(cells=(str(line.position), line.description, "", "", "", amount(line.amount, digits)))
    return Row(
        cells=(
            str(line.position),
            line.description,
            count(line.calls),
            count(line.input_tokens),
            count(line.output_tokens),
            amount(line.amount, digits),
        ),
        marked=line.late,
    )


def totals(book: Book, document: InvoiceDocument, accent: Colour, ink: Colour) -> None:
    """Draw what the lines add up to, the tax, and what is to be paid."""
    book.need(118)
    top = book.y
    book.y += 12
    digits = document.digits
    for name, value in (
        ("Net amount", document.net_amount),
        (tax_title(document), document.tax_amount),
    ):
        book.y += 17
        book.sheet.text(TOTALS_LEFT, book.y, name, Style(colour=MUTED), width=140)
        book.sheet.right(RIGHT, book.y, amount(value, digits), Style(), width=95)
    book.y += 9
    book.sheet.rule(book.y, accent, left=TOTALS_LEFT, thick=0.9)
    book.y += 21
    total = f"{document.currency} {amount(document.total_amount, digits)}"
    book.sheet.text(TOTALS_LEFT, book.y, total_title(document), Style(size=11, bold=True))
    book.sheet.right(RIGHT, book.y, total, Style(size=13, bold=True, colour=ink), width=150)
    book.y += 21
    ledger = f"{document.currency} {exact(document.ledger_amount)}"
    book.sheet.text(TOTALS_LEFT, book.y, "Exact sum of the ledger", SMALL)
    book.sheet.right(RIGHT, book.y, ledger, SMALL, width=150)
    book.y += 8
    _terms(book, document, top)
    if document.terms.tax.note:
        book.paragraph(document.terms.tax.note, SMALL, left=TOTALS_LEFT)


def _terms(book: Book, document: InvoiceDocument, top: float) -> None:
    """Draw how the amount is paid, and why it is taken back: beside the totals where that has room, else below."""
    paragraphs = [payment(document), *([f"Reason: {document.reason}"] if document.reason else [])]
    lines = [line for text in paragraphs for line in book.typesetter.wrap(text, TERMS_WIDTH * THOUSAND / TEXT.size)]
    title = "Credit" if document.kind is InvoiceKind.CREDIT_NOTE else "Payment"
    if len(lines) > TERMS_LINES_MAX:
        _heading(book, title)
        for text in paragraphs:
            book.paragraph(text, TEXT)
        return
    y = top + 29
    book.sheet.text(LEFT, y, title, Style(size=9, bold=True))
    for line in lines:
        y += TEXT.leading
        book.sheet.text(LEFT, y + 1, line, TEXT)


def breakdowns(book: Book, document: InvoiceDocument, accent: Colour) -> None:
    """Draw the same sum by day and by model, and what overrides paid for of it."""
    currency = document.currency
    if document.days:
        _heading(book, "By day", f"Exact amounts; they add up to the ledger's sum, {_money(document)}.")
        table = Table(
            book,
            [
                Column(title="Day", width=285.28),
                Column(title="Calls", width=80, figures=True),
                Column(title=f"Cost ({currency})", width=130, figures=True),
            ],
            accent,
        )
        costs = _aligned([day.cost for day in document.days])
        table.rows(
            Row(cells=(day.day, count(day.calls), cost)) for day, cost in zip(document.days, costs, strict=False)
        )
        table.rows([Row(cells=("Sum", count(sum(day.calls for day in document.days)), costs[-1]), strong=True)])
    if document.models:
        _models(book, document, accent)
    if document.overrides:
        _overrides(book, document, accent)


def _models(book: Book, document: InvoiceDocument, accent: Colour) -> None:
    _heading(book, "By model", f"Exact amounts; they add up to the ledger's sum, {_money(document)}.")
    table = Table(
        book,
        [
            Column(title="Model", width=165.28),
            Column(title="Calls", width=52, figures=True),
            Column(title="Input tokens", width=74, figures=True),
            Column(title="Output tokens", width=74, figures=True),
            Column(title=f"Cost ({document.currency})", width=130, figures=True),
        ],
        accent,
    )
    costs = _aligned([model.cost for model in document.models])
    table.rows(
        Row(
            cells=(
                model.model or "No model",
                count(model.calls),
                count(model.input_tokens),
                count(model.output_tokens),
                cost,
            )
        )
        for model, cost in zip(document.models, costs, strict=False)
    )
    models = document.models
    tokens = (sum(model.input_tokens for model in models), sum(model.output_tokens for model in models))
    calls = sum(model.calls for model in models)
    table.rows([Row(cells=("Sum", count(calls), *map(count, tokens), costs[-1]), strong=True)])


def _overrides(book: Book, document: InvoiceDocument, accent: Colour) -> None:
    paid = f"{document.currency} {exact(document.override_amount)}"
    _heading(book, "Overrides", f"What was spent past a cap with permission: {paid} of the ledger's sum, exact.")
    table = Table(
        book,
        [
            Column(title="Reason", width=208),
            Column(title="Granted by", width=115.28),
            Column(title="Calls", width=52, figures=True),
            Column(title=f"Cost ({document.currency})", width=120, figures=True),
        ],
        accent,
    )
    costs = _aligned([override.amount for override in document.overrides])
    table.rows(
        Row(cells=(override.reason or override.override_id, override.granted_by, count(override.calls), cost))
        for override, cost in zip(document.overrides, costs, strict=False)
    )
    calls = sum(override.calls for override in document.overrides)
    table.rows([Row(cells=("Sum", "", count(calls), costs[-1]), strong=True)])


def proof(book: Book, document: InvoiceDocument, content_hash: str) -> None:
    """Draw what lets anybody check that nothing was changed since."""
    _heading(book, "Proof", f"{count(document.entries)} entries of the ledger stand behind this document.", room=84)
    for name, value in (("Ledger hash", document.ledger_hash), ("Content hash", content_hash)):
        if value:
            book.need(HASH.leading)
            book.y += HASH.leading
            book.sheet.text(LEFT, book.y, name, Style(size=7, bold=True, colour=MUTED))
            book.sheet.text(LEFT + 62, book.y, value, HASH, width=RIGHT - LEFT - 62)


def _heading(book: Book, title: str, below: str = "", room: float = 140) -> None:
    book.need(room)
    book.y += 34
    book.sheet.text(LEFT, book.y, title, HEADING)
    book.y += 3
    if below:
        book.paragraph(below, SMALL)
    book.y += 5


def _money(document: InvoiceDocument) -> str:
    return f"{document.currency} {exact(document.ledger_amount)}"


def _aligned(costs: Sequence[Decimal]) -> Sequence[str]:
    """Return exact amounts and then their sum, all with as many digits behind the point as the longest needs."""
    texts = [exact(cost) for cost in (*costs, sum(costs, ZERO))]
    longest = max(len(text.partition(".")[2]) for text in texts)
    return [f"{text:0<{len(text.partition('.')[0]) + 1 + longest}}" for text in texts]
