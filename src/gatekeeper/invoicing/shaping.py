"""What is drawn for a text: which glyphs of which typefaces, where?

HarfBuzz shapes each run: Arabic letters join, marks stand above their letters, pairs are kerned. Each glyph keeps the
text that it stands for, so that what is copied from the page is what was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

import uharfbuzz

from .scripts import JOINERS, PLAIN, clusters, pieces, region, runs, visible
from .typefaces import Typeface, Typefaces

# Ligatures of Latin letters gain nothing here, and some readers lose letters over them.
FEATURES = {"kern": True, "liga": False}
# Figures stand below each other: nothing may move them closer.
FIGURES = {"kern": False, "liga": False}
# Texts that come again: names, and the words of the invoice itself.
REMEMBERED = 8192
NOTHING = "\u200b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    """A text as one line. `parts` are the typeface's name, the rise above the line, and what `TJ` draws."""

    width: float
    parts: Sequence[tuple[str, float, str]]


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
        parts: list[tuple[str, float, str]] = []
        home = region(text)
        for run, turned in runs(text):
            found = [(typeface, part) for typeface, part in self._split(run, home, bold=bold)]
            for typeface, part in reversed(found) if turned else found:
                glyphs = _glyphs(typeface or self.typefaces.base(bold=bold), part, turned=turned, known=bool(typeface))
                drawn, advance = _draw(typeface or self.typefaces.base(bold=bold), glyphs)
                parts += drawn
                width += advance
        return Shaped(width=width, parts=parts)

    def _split(self, run: str, home: str, *, bold: bool) -> Iterator[tuple[Typeface | None, str]]:
        """Yield a run's parts by typeface; None: no typeface has them."""
        if PLAIN.match(run):
            yield self.typefaces.base(bold=bold), run
            return
        chosen: list[tuple[Typeface | None, str]] = []
        before: Typeface | None = None
        for cluster in clusters(run):
            wanted = [ord(letter) for letter in cluster if letter not in JOINERS]
            stays = cluster == " " and before is not None and ord(" ") in before.characters
            before = before if stays else self.typefaces.find(wanted, home, bold=bold)
            chosen.append((before, cluster))
        for typeface, group in groupby(chosen, key=lambda choice: choice[0]):
            yield typeface, "".join(cluster for _, cluster in group)


def _glyphs(typeface: Typeface, run: str, *, turned: bool, known: bool) -> Sequence[Glyph]:
    """Return a run's glyphs from left to right."""
    if not known:
        box = typeface.width(0)
        return [Glyph(0, letter, box, 0, 0) for letter in run if letter not in JOINERS]
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
    ordered = begins[::-1] if turned else begins
    ends = [*sorted(set(ordered)), len(run)]
    following = dict(pairwise(ends))
    texts: list[str] = []
    for begin, group in groupby(ordered):
        count = len(list(group))
        shared = run[begin : following[begin]]
        texts += [shared[place : place + 1] or NOTHING for place in range(count - 1)]
        texts.append(shared[count - 1 :] or NOTHING)
    return texts[::-1] if turned else texts


def _draw(typeface: Typeface, glyphs: Sequence[Glyph]) -> tuple[Sequence[tuple[str, float, str]], float]:
    """Return the parts that draw glyphs, and how far they advance."""
    parts: list[tuple[str, float, str]] = []
    shift, width = 0.0, 0.0
    for rise, group in groupby(glyphs, key=lambda glyph: glyph.y):
        drawn: list[str] = []
        for glyph in group:
            shift += glyph.x
            if round(shift, 1):
                drawn.append(f"> {-shift:.1f} <")
            drawn.append(f"{typeface.code(glyph.number, glyph.text):04X}")
            shift = glyph.advance - typeface.width(glyph.number) - glyph.x
            width += glyph.advance
        parts.append((typeface.name, rise, f"[<{''.join(drawn)}>]"))
    if round(shift, 1) and parts:
        name, rise, body = parts[-1]
        parts[-1] = (name, rise, f"{body[:-1]} {-shift:.1f}]")
    return parts, width
