"""How does an invoice become a PDF?

The same document gives the same bytes: no clock is read, and no typeface that a machine happens to have.
"""

from __future__ import annotations

from typing import BinaryIO

from reportlab import rl_config
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from gatekeeper.domain.invoices import InvoiceDocument

from . import sections
from .embedding import Embedded
from .letterhead import Letterhead, due, parties
from .scripts import visible
from .shaping import Typesetter
from .sheets import HEIGHT, LEFT, TOP, WIDTH, Book

CREATOR = "Budget Gatekeeper"


class Paper(Canvas):  # type: ignore[misc]
    """Pages without reportlab's first typeface: each page would name it, and nothing embeds it."""

    def _make_preamble(self) -> None:
        self._preamble = "1 0 0 1 0 0 cm"


def render(document: InvoiceDocument, out: BinaryIO, content_hash: str = "") -> None:
    """Write an invoice as PDF; `content_hash` (the SHA-256 of its canonical text, in hex) is printed where given."""
    typesetter = Typesetter()
    letterhead = Letterhead(document, typesetter)
    book = _pages(document, letterhead, typesetter, content_hash)
    for number, sheet in enumerate(book.sheets, 1):
        letterhead.finish(sheet, number, len(book.sheets))
    # Bytes as they are: as text, pages take a fifth more room and time.
    rl_config.useA85 = 0
    canvas = Paper(out, pagesize=(WIDTH, HEIGHT), pageCompression=1, invariant=1, lang="en", pdfVersion=(1, 7))
    canvas.setTitle(letterhead.name)
    canvas.setAuthor(visible(document.seller.legal_name))
    canvas.setSubject(visible(f"{document.organization}, {document.period}"))
    canvas.setCreator(CREATOR)
    fonts = typesetter.typefaces
    for font in (*map(Embedded, fonts.opened.values()), *fonts.borrowed.values()):
        canvas._doc.delayedFonts.append(font)  # noqa: SLF001 - reportlab has no other way in
    for sheet in book.sheets:
        canvas.addLiteral("\n".join(sheet.operators))
        if sheet is book.sheets[0] and letterhead.logo:
            picture = letterhead.logo
            top = HEIGHT - TOP - picture.height
            canvas.drawImage(ImageReader(picture.picture), LEFT, top, picture.width, picture.height, mask="auto")
        canvas.showPage()
    canvas.save()


def _pages(document: InvoiceDocument, letterhead: Letterhead, typesetter: Typesetter, content_hash: str) -> Book:
    book = Book(typesetter, letterhead.bottom, letterhead.begin)
    accent, ink = letterhead.accent, letterhead.ink
    parties(book, document)
    due(book, document, accent, ink)
    sections.lines(book, document, ink)
    sections.totals(book, document, accent, ink)
    sections.breakdowns(book, document, ink)
    sections.proof(book, document, content_hash)
    return book
