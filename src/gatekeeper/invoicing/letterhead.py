"""What stands at the head and the foot of each page: the seller's brand, what the document is, and who pays whom?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from gatekeeper.domain.invoices import InvoiceDocument, InvoiceKind, Party

from .scripts import visible
from .shaping import Typesetter
from .sheets import (
    FAINT,
    HEIGHT,
    INK,
    LEFT,
    MUTED,
    RIGHT,
    THOUSAND,
    TOP,
    WIDTH,
    Book,
    Colour,
    Sheet,
    Style,
    colour,
    legible,
    tint,
)
from .words import NO_NAME, TITLES, address, amount, total_title

# Where the first page's logo stands, at most; and as many points of the picture as are printed of it.
LOGO_WIDTH, LOGO_HEIGHT = 170.0, 46.0
LOGO_POINTS = 800
# A larger picture than this is no logo.
LOGO_POINTS_MAX = 40_000_000
FOOT = Style(size=7, colour=MUTED)
FOOT_LINES_MAX = 5
# The seller's name at the head; it stands whole among the addresses. A longer address than this is no address.
NAME_LINES_MAX, PARTY_LINES_MAX = 3, 32
LABEL = Style(size=7.2, bold=True, colour=MUTED)
PARTY_NAME = Style(size=9.4, bold=True)
PARTY_LINE = Style(size=8.8)
PARTY_WIDTH = 156.0
FACT_LEADING, FACT_LINES_MAX = 12.6, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo:
    """A picture to draw at the head of the first page, and how large."""

    picture: Image.Image
    width: float
    height: float


def logo(encoded: str) -> Logo | None:
    """Return the logo; None: there is none, or none that can be drawn."""
    if not encoded:
        return None
    try:
        with Image.open(BytesIO(base64.b64decode(encoded, validate=True)), formats=("PNG",)) as opened:
            if opened.width * opened.height > LOGO_POINTS_MAX:
                return None
            picture = opened.convert("RGBA")
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((LOGO_POINTS, LOGO_POINTS))
    factor = min(LOGO_WIDTH / picture.width, LOGO_HEIGHT / picture.height)
    return Logo(picture=picture, width=picture.width * factor, height=picture.height * factor)


def shortened(lines: Sequence[str], count: int) -> Sequence[str]:
    """Return so many lines; where more would follow, dots stand for the last letters."""
    return lines if len(lines) <= count else [*lines[: count - 1], f"{lines[count - 1][:-2]}\u2026"]


class Letterhead:
    """Draws what frames the pages of one document."""

    def __init__(self, document: InvoiceDocument, typesetter: Typesetter) -> None:
        """Frame this document."""
        self._document = document
        self._typesetter = typesetter
        self.accent = colour(document.branding.accent)
        self.ink = legible(self.accent)
        self.logo = logo(document.branding.logo_base64)
        footer = [line for text in document.branding.footer.splitlines() for line in self._footer_lines(text)]
        self._footer = shortened(footer, FOOT_LINES_MAX)
        self.bottom = HEIGHT - 46 - max(len(self._footer), 1) * FOOT.leading

    @property
    def name(self) -> str:
        """What the document is, and its number."""
        return " ".join(part for part in (TITLES[self._document.kind], visible(self._document.number)) if part)

    def begin(self, sheet: Sheet, number: int) -> float:
        """Draw a page's head, and return where the rest begins."""
        if self._document.kind is InvoiceKind.DRAFT:
            sheet.aslant("DRAFT", Style(size=170, bold=True, colour=FAINT))
        sheet.box(0, 0, WIDTH, 7 if number == 1 else 3, self.accent)
        if number == 1:
            return self._first(sheet)
        seller = self._short(self._document.seller.legal_name, (RIGHT - LEFT) / 2)
        sheet.text(LEFT, TOP - 16, self.name, Style(size=8, bold=True), width=230)
        sheet.right(RIGHT, TOP - 16, seller, Style(size=8, colour=MUTED))
        sheet.rule(TOP - 8)
        return TOP + 4

    def _first(self, sheet: Sheet) -> float:
        y = TOP + 4
        seller = self._document.seller.legal_name
        if self.logo is None:
            style = Style(size=15, bold=True, colour=self.ink)
            lines = self._typesetter.wrap(seller, 270 * THOUSAND / style.size, bold=True)
            for line in shortened(lines, NAME_LINES_MAX):
                sheet.text(LEFT, y + 13, line, style)
                y += style.leading
        else:
            y += self.logo.height
        title = Style(size=24, bold=True, colour=INK)
        sheet.right(RIGHT, TOP + 20, TITLES[self._document.kind], title)
        sheet.right(RIGHT, TOP + 36, visible(self._document.number), Style(size=11, colour=MUTED), width=220)
        return max(y, TOP + 46) + 26

    def _footer_lines(self, text: str) -> Sequence[str]:
        return self._typesetter.wrap(text, (RIGHT - LEFT - 90) * THOUSAND / FOOT.size)

    def _short(self, text: str, width: float) -> str:
        """Return the first line of a text, with dots for the rest of it."""
        return shortened(self._typesetter.wrap(text, width * THOUSAND / 8), 1)[0]

    def finish(self, sheet: Sheet, number: int, count: int) -> None:
        """Draw a page's foot, once it is known how many pages there are."""
        y = self.bottom + 18
        sheet.rule(y - 10)
        for place, line in enumerate(self._footer):
            sheet.text(LEFT, y + 2 + place * FOOT.leading, line, FOOT)
        sheet.right(RIGHT, y + 2, f"Page {number} of {count}", FOOT)


def parties(book: Book, document: InvoiceDocument) -> None:
    """Draw who sells, who buys, and the document's own facts, beside each other."""
    top = book.y
    columns = (LEFT, LEFT + 172, LEFT + 344)
    ends = [
        _party(book, columns[0], "FROM", document.seller),
        _party(book, columns[1], "BILLED TO", document.terms.buyer),
        _facts(book, columns[2], facts(document)),
    ]
    book.y = max(top, *ends) + 22


def _party(book: Book, left: float, label: str, party: Party) -> float:
    texts = [(party.legal_name or NO_NAME, PARTY_NAME), *((line, PARTY_LINE) for line in address(party))]
    lines = [(line, style) for text, style in texts for line in _fit(book, text, style, PARTY_WIDTH)]
    book.sheet.text(left, book.y, label, LABEL)
    y = book.y + 3
    for line, style in lines[:PARTY_LINES_MAX]:
        y += style.leading
        book.sheet.text(left, y, line, style, width=PARTY_WIDTH)
    return y


def _fit(book: Book, text: str, style: Style, width: float) -> Sequence[str]:
    return book.typesetter.wrap(text, width * THOUSAND / style.size, bold=style.bold)


def facts(document: InvoiceDocument) -> Sequence[tuple[str, str]]:
    """Return what identifies a document, by name."""
    is_due = document.kind is InvoiceKind.INVOICE
    found = [
        ("Number", document.number),
        ("Issue date", str(document.issue_date)),
        ("Due date" if is_due else "", str(document.due_date)),
        ("Period", document.period),
        ("Credited invoice", document.credited_number),
        ("Your reference", document.terms.reference),
        ("Account", document.organization),
        ("Currency", document.currency),
    ]
    return [(name, fact) for name, fact in found if name and fact]


def _facts(book: Book, left: float, found: Sequence[tuple[str, str]]) -> float:
    y = book.y
    for name, fact in found:
        book.sheet.text(left, y, name, Style(size=8, colour=MUTED), width=68)
        for line in shortened(_fit(book, fact, PARTY_LINE, 78), FACT_LINES_MAX):
            book.sheet.text(left + 74, y, line, PARTY_LINE)
            y += FACT_LEADING
    return y - FACT_LEADING


def due(book: Book, document: InvoiceDocument, accent: Colour, ink: Colour) -> None:
    """Draw what is to be paid, so that nobody needs to look for it."""
    height = 46.0
    book.sheet.box(LEFT, book.y, RIGHT - LEFT, height, tint(accent, 0.09))
    book.sheet.box(LEFT, book.y, 3, height, accent)
    until = f"Due {document.due_date}" if document.kind is InvoiceKind.INVOICE else f"On {document.issue_date}"
    book.sheet.text(LEFT + 16, book.y + 19, total_title(document), Style(size=8.5, colour=MUTED))
    book.sheet.text(LEFT + 16, book.y + 34, until, Style(size=9.4, bold=True))
    total = f"{document.currency} {amount(document.total_amount, document.digits)}"
    book.sheet.right(RIGHT - 16, book.y + 31, total, Style(size=20, bold=True, colour=ink), width=340)
    book.y += height + 26
