"""How do the glyphs that a document draws get into its file?

Each typeface as a composite font with the glyphs used alone, and a map from their codes to the texts they stand for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import uharfbuzz
from reportlab.pdfbase.pdfdoc import (
    BasicFonts,
    PDFArray,
    PDFDictionary,
    PDFName,
    PDFStream,
    PDFString,
    PDFZCompress,
)

from .typefaces import Typeface

# Symbolic: its glyphs are not named by a standard encoding.
FLAGS = 4
STEM = 80
# What readers do not need of a typeface: how letters are shaped, and its names.
DROPPED = (b"GSUB", b"GPOS", b"GDEF", b"name", b"post", b"STAT")
# As many entries as a block of a CMap may have.
BLOCK = 100
CMAP = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
{blocks}
endcmap
CMapName currentdict /CMap defineresource pop
end
end
"""


class Embedded:
    """A typeface among a document's fonts; reportlab calls it when all pages are drawn."""

    def __init__(self, typeface: Typeface) -> None:
        """Embed what is drawn of a typeface."""
        self._typeface = typeface
        self.fontName = typeface.name

    def addObjects(self, document: Any) -> None:  # noqa: N802 - reportlab's name
        """Add the font's objects to a document, if anything is drawn with it."""
        typeface = self._typeface
        if len(typeface.glyphs) == 1:
            return
        name = PDFName(f"{_tag(typeface.name)}+{_postscript_name(typeface)}")
        descendant = PDFDictionary(
            {
                "Type": PDFName("Font"),
                "Subtype": PDFName("CIDFontType2"),
                "BaseFont": name,
                "CIDSystemInfo": PDFDictionary(
                    {
                        "Registry": PDFString("Adobe"),
                        "Ordering": PDFString("Identity"),
                        "Supplement": 0,
                    }
                ),
                "FontDescriptor": _descriptor(document, typeface, name),
                "W": PDFArray([0, PDFArray([round(width, 2) for _, _, width in typeface.glyphs])]),
                "CIDToGIDMap": _stream(
                    document,
                    f"gids {typeface.name}",
                    b"".join(struct.pack(">H", glyph) for glyph, _, _ in typeface.glyphs),
                ),
            }
        )
        font = PDFDictionary(
            {
                "Type": PDFName("Font"),
                "Subtype": PDFName("Type0"),
                "BaseFont": name,
                "Encoding": PDFName("Identity-H"),
                "DescendantFonts": PDFArray([document.Reference(descendant, f"descendant {typeface.name}")]),
                "ToUnicode": _stream(document, f"texts {typeface.name}", _texts(typeface.glyphs).encode("ascii")),
            }
        )
        document.idToObject[BasicFonts].dict[typeface.name] = document.Reference(font, f"font {typeface.name}")


def _descriptor(document: Any, typeface: Typeface, name: PDFName) -> Any:
    head = typeface.face.reference_table("head").data
    box = struct.unpack(">4h", head[36:44])
    extents = typeface.font.get_font_extents("ltr")
    return document.Reference(
        PDFDictionary(
            {
                "Type": PDFName("FontDescriptor"),
                "FontName": name,
                "Flags": FLAGS,
                "FontBBox": PDFArray([round(side * typeface.scale) for side in box]),
                "ItalicAngle": 0,
                "Ascent": round(extents.ascender * typeface.scale),
                "Descent": round(extents.descender * typeface.scale),
                "CapHeight": round(extents.ascender * typeface.scale),
                "StemV": STEM,
                "FontFile2": _stream(document, f"file {typeface.name}", _subset(typeface), with_length=True),
            }
        ),
        f"descriptor {typeface.name}",
    )


def _subset(typeface: Typeface) -> bytes:
    """Return the typeface with the glyphs alone that are drawn, under their own numbers."""
    wanted = uharfbuzz.SubsetInput()
    wanted.flags = (
        uharfbuzz.SubsetFlags.RETAIN_GIDS
        | uharfbuzz.SubsetFlags.NOTDEF_OUTLINE
        | uharfbuzz.SubsetFlags.NO_LAYOUT_CLOSURE
        | uharfbuzz.SubsetFlags.NO_HINTING
    )
    wanted.glyph_set.update({glyph for glyph, _, _ in typeface.glyphs})
    wanted.unicode_set.clear()
    wanted.drop_table_tag_set.update({int.from_bytes(tag) for tag in DROPPED})
    for tag, value in typeface.pins.items():
        wanted.pin_axis_location(typeface.face, tag, value)
    return bytes(uharfbuzz.subset(typeface.face, wanted).blob.data)


def _texts(glyphs: Sequence[tuple[int, str, float]]) -> str:
    entries = (
        f"<{code:04X}> <{text.encode('utf-16-be', 'replace').hex()}>" for code, (_, text, _) in enumerate(glyphs)
    )
    return CMAP.format(blocks="\n".join(_blocks(entries)))


def _blocks(entries: Iterator[str]) -> Iterator[str]:
    while block := list(islice(entries, BLOCK)):
        yield "\n".join([f"{len(block)} beginbfchar", *block, "endbfchar"])


def _stream(document: Any, name: str, content: bytes, *, with_length: bool = False) -> Any:
    stream = PDFStream()
    stream.content = content
    stream.filters = [PDFZCompress]
    if with_length:
        stream.dictionary["Length1"] = len(content)
    return document.Reference(stream, name)


def _postscript_name(typeface: Typeface) -> str:
    """Return the name that the file gives itself, which may hold letters, figures and hyphens."""
    named = typeface.face.get_name(uharfbuzz.OTNameIdPredefined.POSTSCRIPT_NAME) or "Typeface"
    return "".join(letter for letter in named if letter.isascii() and (letter.isalnum() or letter == "-"))


def _tag(name: str) -> str:
    """Return the six capitals that mark a part of a typeface."""
    number = int(name[1:])
    return "INV" + "".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0))
