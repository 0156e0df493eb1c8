"""What is drawn for a text: which glyphs of which typefaces, where?

HarfBuzz shapes each run: Arabic letters join, marks stand above their letters, pairs are kerned. Each glyph keeps the
text that it stands for, so that what is copied from the page is what was written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

import uharfbuzz

from .borrowed import EM, SQUARE, Borrowed
from .scripts import JOINERS, PLAIN, clusters, pieces, region, runs, visible
from .typefaces import Typeface, Typefaces

# Ligatures of Latin letters gain nothing here, and some readers lose letters over them.
FEATURES = {"kern": True, "liga": False}
# Figures stand below each other: nothing may move them closer.
FIGURES = {"kern": False, "liga": False}
# A character that no typeface has, and what would join it to the next.
LETTER = re.compile(f".[{JOINERS}]*", re.DOTALL)
# Texts that come again: names, and the words of the invoice itself.
REMEMBERED = 8192
# What a glyph stands for that is one too many: readers make something up for glyphs that stand for nothing.
NOTHING = "\u200b"
# The typeface's name, the rise above the line, and what `TJ` draws.
Part = tuple[str, float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A text as one line."""

    width: float
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Glyph:
    """A glyph of a run and what it stands for; lengths in thousandths of the type size."""

    number: int
    text: str
    advance: float
    x: float
    y: float


class Typesetter:
    """Shapes the texts of one document."""

    def __init__(self) -> None:
        """Begin without texts."""
        self.typefaces = Typefaces()
        self.shape = lru_cache(REMEMBERED)(self._shape)

    def wrap(self, text: str, width: float, *, bold: bool = False) -> Sequence[str]:
        """Return a text's lines, none wider than `width` (thousandths of the type size); no text is one empty line."""
        text = visible(text)
        if self.shape(text, bold=bold).width <= width:
            return [text]
        lines = [""]
        left = width
        for piece in self._pieces(text, width, bold=bold):
            taken = self.shape(piece.rstrip(), bold=bold).width
            if taken > left and lines[-1]:
                lines.append("")
                left = width
            lines[-1] += piece
            left -= self.shape(piece, bold=bold).width
        return [line.rstrip() for line in lines]

    def _pieces(self, text: str, width: float, *, bold: bool) -> Iterator[str]:
        """Yield pieces of a text that fit: words, and what remains too long cut anywhere between two characters."""
        for piece in pieces(text):
            if self.shape(piece.rstrip(), bold=bold).width <= width:
                yield piece
            else:
                yield from self._cut(piece, width, bold=bold)

    def _cut(self, piece: str, width: float, *, bold: bool) -> Iterator[str]:
        cut, taken = "", 0.0
        for cluster in clusters(piece):
            wide = self.shape(cluster, bold=bold).width
            if cut and taken + wide > width:
                yield cut
                cut, taken = "", 0.0
            cut += cluster
            taken += wide
        yield cut

    def _shape(self, text: str, *, bold: bool = False) -> Shaped:
        width = 0.0
        parts: list[Part] = []
        home = region(text)
        for run, turned in runs(text):
            found = list(self._split(run, home, bold=bold))
            for typeface, part in reversed(found) if turned else found:
                drawn, advance = self._part(typeface, part, turned=turned, bold=bold)
                parts += drawn
                width += advance
        return Shaped(width=width, parts=parts)

    def _part(self, typeface: Typeface | None, part: str, *, turned: bool, bold: bool) -> tuple[Sequence[Part], float]:
        if typeface is not None:
            return _draw(typeface, _glyphs(typeface, part, turned=turned))
        if all(map(SQUARE.match, part)):
            return _draw(self.typefaces.borrow(region(part)), [Glyph(ord(letter), letter, EM, 0, 0) for letter in part])
        base = self.typefaces.base(bold=bold)
        boxes = [Glyph(0, text, base.width(0), 0, 0) for text in LETTER.findall(part)]
        return _draw(base, boxes[::-1] if turned else boxes)

    def _split(self, run: str, home: str, *, bold: bool) -> Iterator[tuple[Typeface | None, str]]:
        """Yield a run's parts by typeface; None: no typeface has them."""
        if PLAIN.match(run):
            yield self.typefaces.base(bold=bold), run
            return
        chosen: list[tuple[Typeface | None, bool, str]] = []
        before: Typeface | None = None
        for cluster in clusters(run):
            stays = cluster == " " and before is not None and ord(" ") in before.characters
            before = before if stays else self.typefaces.find(cluster, home, bold=bold)
            chosen.append((before, before is None and bool(SQUARE.match(cluster)), cluster))
        for (typeface, _), group in groupby(chosen, key=lambda choice: choice[:2]):
            yield typeface, "".join(cluster for _, _, cluster in group)


def _glyphs(typeface: Typeface, run: str, *, turned: bool) -> Sequence[Glyph]:
    """Return a run's glyphs from left to right."""
    buffer = uharfbuzz.Buffer()
    buffer.cluster_level = uharfbuzz.BufferClusterLevel.MONOTONE_CHARACTERS
    buffer.add_str(run)
    buffer.guess_segment_properties()
    buffer.direction = "rtl" if turned else "ltr"
    uharfbuzz.shape(typeface.font, buffer, FEATURES if any(map(str.isalpha, run)) else FIGURES)
    found = list(zip(buffer.glyph_infos, buffer.glyph_positions, strict=True))
    texts = _texts([info.cluster for info, _ in found], run, turned=turned)
    scale = typeface.scale
    return [
        Glyph(info.codepoint, text, at.x_advance * scale, at.x_offset * scale, at.y_offset * scale)
        for (info, at), text in zip(found, texts, strict=True)
    ]


def _texts(begins: Sequence[int], run: str, *, turned: bool) -> Sequence[str]:
    """Return what each glyph stands for: of the characters that several glyphs share, one each, the last the rest."""
    if len(begins) == len(run) and not turned and len(set(begins)) == len(run):
        return list(run)
    ordered = begins[::-1] if turned else begins
    ends = [*sorted(set(ordered)), len(run)]
    following = dict(pairwise(ends))
    texts: list[str] = []
    for begin, group in groupby(ordered):
        count = len(list(group))
        shared = run[begin : following[begin]]
        if count > len(shared):
            shared = unicodedata.normalize("NFKD", shared)
        texts += [shared[place : place + 1] or NOTHING for place in range(count - 1)]
        texts.append(shared[count - 1 :] or NOTHING)
    return texts[::-1] if turned else texts


def _draw(typeface: Typeface | Borrowed, glyphs: Sequence[Glyph]) -> tuple[Sequence[Part], float]:
    """Return the parts that draw glyphs, and how far they advance.

    Kerning moves the next glyph. Marks would leave gaps that readers take for spaces: before and after them, a glyph is
    as wide as it takes to get to the next one.
    """
    parts: list[Part] = []
    drawn: list[str] = []
    rise = 0.0
    for glyph, following in zip(glyphs, [*glyphs[1:], None], strict=True):
        if glyph.y != rise and drawn:
            parts.append((typeface.name, rise, f"[<{''.join(drawn)}>]"))
            drawn = []
        rise = glyph.y
        step = glyph.advance - glyph.x + (following.x if following else 0)
        width = typeface.width(glyph.number)
        if glyph.x or (following and following.x):
            width = step
        drawn.append(f"{typeface.code(glyph.number, glyph.text, width):04X}")
        if round(step - width, 1):
            drawn.append(f"> {width - step:.1f} <")
    if drawn:
        parts.append((typeface.name, rise, f"[<{''.join(drawn)}>]"))
    return parts, sum(glyph.advance for glyph in glyphs)
