"""Which typeface has a character?

Noto Sans draws what it has: Latin, Greek and Cyrillic letters. FiraGO adds Arabic, Hebrew, Thai, Devanagari and
Georgian. The packages of the extra `fonts` add Chinese, Japanese, Korean, more scripts of Asia, and emoji. All of them
come from packages: what is installed on a machine otherwise would change an invoice's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import pymupdf_fonts
import uharfbuzz

from .borrowed import Borrowed
from .scripts import JOINERS

# The names that pymupdf_fonts gives to its files: regular and bold.
BASE = ("notos", "notosbo")
WIDE = ("figo", "figbo")
# Arrows, ticks and signs. Those named for symbols have outlines of another kind than is embedded here.
SYMBOLS = ("cascadia",)
REGULAR, BOLD = 400.0, 700.0
# Kana are Japanese, Hangul is Korean; characters of the Han are drawn as in mainland China unless one of those is near.
CJK = {"jp": "NotoSansJP", "kr": "NotoSansKR", "sc": "NotoSansSC", "tc": "NotoSansTC"}
THOUSAND = 1000
# Characters whose typeface is known: as many as a Chinese invoice may have.
REMEMBERED = 16384


class Typeface:
    """A typeface in one weight, and the glyphs of it that a document draws.

    A glyph gets a code of its own for each text that it stands for, and each width that it takes: readers copy the text
    by the code, and take a gap between two glyphs for a space. All lengths are in thousandths of the type size.
    """

    def __init__(self, name: str, blob: uharfbuzz.Blob, weight: float = REGULAR) -> None:
        """Take the file's content, and of a variable typeface this weight."""
        self.name = name
        self.face = uharfbuzz.Face(blob)
        self.pins = {axis.tag: weight for axis in self.face.axis_infos if axis.tag == "wght"}
        self.font = uharfbuzz.Font(self.face)
        if self.pins:
            self.font.set_variations(self.pins)
        self.scale = THOUSAND / self.face.upem
        self.glyphs: list[tuple[int, str, float]] = [(0, "\ufffd", 0.0)]
        self._codes: dict[tuple[int, str, float], int] = {}
        self._widths: dict[int, float] = {}

    @cached_property
    def characters(self) -> uharfbuzz.Set:
        """The code points that it has glyphs for."""
        return self.face.unicodes

    def code(self, glyph: int, text: str, width: float) -> int:
        """Return the code of a glyph that stands for a text and is so wide."""
        key = (glyph, text, width)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self.glyphs)
            self.glyphs.append(key)
        return code

    def width(self, glyph: int) -> float:
        """Return how far a glyph advances by itself."""
        width = self._widths.get(glyph)
        if width is None:
            width = self._widths[glyph] = float(self.font.get_glyph_h_advance(glyph) * self.scale)
        return width


class Typefaces:
    """The typefaces of a document, opened when a character needs them."""

    def __init__(self) -> None:
        """Open none yet."""
        self.opened: dict[str, Typeface] = {}
        self.borrowed: dict[str, Borrowed] = {}
        self.find = lru_cache(REMEMBERED)(self._find)
        self._files = lru_cache(_files)

    def base(self, *, bold: bool) -> Typeface:
        """Return the typeface that draws the boxes for what no typeface has."""
        return self._packaged(BASE[bold], BASE[bold])

    def _find(self, cluster: str, region: str, *, bold: bool) -> Typeface | None:
        """Return the first typeface that has all of these characters, else the first that has one of them."""
        wanted = {ord(letter) for letter in cluster if letter not in JOINERS}
        partly = None
        for typeface in self._candidates(region, bold=bold):
            found = sum(character in typeface.characters for character in wanted)
            if found == len(wanted):
                return typeface
            if found and partly is None:
                partly = typeface
        return partly

    def borrow(self, region: str) -> Borrowed:
        """Return the typeface that readers have for a region's characters."""
        if region not in self.borrowed:
            self.borrowed[region] = Borrowed(f"H{len(self.borrowed)}", region)
        return self.borrowed[region]

    def _candidates(self, region: str, *, bold: bool) -> Iterator[Typeface]:
        yield self._packaged(BASE[bold], BASE[bold])
        yield self._packaged(WIDE[bold], WIDE[bold])
        for path in self._files(region):
            yield self._variable(path, bold=bold)
        for name in SYMBOLS:
            yield self._packaged(name, name)

    def _packaged(self, key: str, name: str) -> Typeface:
        if key not in self.opened:
            self.opened[key] = Typeface(_label(len(self.opened)), uharfbuzz.Blob(pymupdf_fonts.myfont(name)))
        return self.opened[key]

    def _variable(self, path: Path, *, bold: bool) -> Typeface:
        key = f"{path.name} {bold}"
        if key not in self.opened:
            blob = uharfbuzz.Blob.from_file_path(path)
            self.opened[key] = Typeface(_label(len(self.opened)), blob, BOLD if bold else REGULAR)
        return self.opened[key]


def _label(number: int) -> str:
    """Return a resource name that reportlab does not give."""
    return f"G{number}"


def _files(region: str) -> Sequence[Path]:
    """Return the files of the extra typefaces, in the order in which they are asked."""
    return [*_cjk_files(region), *_other_files()]


def _cjk_files(region: str) -> Iterable[Path]:
    """Return the files with Chinese, Japanese and Korean glyphs, those of a region first."""
    folder = _folder("justmytype_intl_cjk")
    if folder is None:
        return ()
    regions = sorted(CJK, key=lambda known: (known != region, known != "sc"))
    return [path for known in regions for path in sorted(folder.glob(f"fonts/ofl/*/{CJK[known]}[[]*.ttf"))]


def _other_files() -> Iterable[Path]:
    """Return the files of other scripts and of emoji; those of Latin letters and italics are here already."""
    folder = _folder("manimgx_fonts")
    if folder is None:
        return ()
    known = ("NotoSans[", "NotoSans-")
    return [path for path in sorted(folder.glob("Noto*.ttf")) if not path.name.startswith(known)]


def _folder(package: str) -> Path | None:
    """Return where a package of typefaces lies, without running it; None: it is not installed."""
    found = find_spec(package)
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) if places else None
