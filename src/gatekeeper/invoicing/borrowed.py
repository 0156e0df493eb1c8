"""What if no typeface here has Chinese, Japanese or Korean characters?

Then the reader's own are borrowed, which nearly all programs that show PDF have: the file names one of the collections
of characters that they all know, and embeds nothing. The extra `fonts` embeds them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reportlab.pdfbase.pdfdoc import BasicFonts, PDFArray, PDFDictionary, PDFName, PDFString

# All of these are as wide as they are high.
SQUARE = re.compile(
    "[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff01-\uff60]"
)
EM = 1000.0
# The typeface, the collection of characters, and the encoding, by where a text is at home.
COLLECTIONS: Mapping[str, tuple[str, str, str]] = {
    "jp": ("HeiseiKakuGo-W5", "Japan1", "UniJIS-UCS2-H"),
    "kr": ("HYGothic-Medium", "Korea1", "UniKS-UCS2-H"),
    "sc": ("STSong-Light", "GB1", "UniGB-UCS2-H"),
}
FLAGS = 4
BOX = (0, -200, 1000, 900)


class Borrowed:
    """A typeface of the reader. Its glyphs are characters."""

    def __init__(self, name: str, region: str) -> None:
        """Borrow a region's typeface under a resource name."""
        self.name = name
        self.fontName = name
        self._region = region

    def code(self, glyph: int, _text: str, _width: float) -> int:
        """Return the code of a character: itself."""
        return glyph

    def width(self, _glyph: int) -> float:
        """Return the width of any of its characters."""
        return EM

    def addObjects(self, document: Any) -> None:  # noqa: N802 - reportlab's name
        """Name the typeface in a document."""
        name, collection, encoding = COLLECTIONS[self._region]
        descriptor = PDFDictionary(
            {
                "Type": PDFName("FontDescriptor"),
                "FontName": PDFName(name),
                "Flags": FLAGS,
                "FontBBox": PDFArray(list(BOX)),
                "ItalicAngle": 0,
                "Ascent": 880,
                "Descent": -120,
                "CapHeight": 740,
                "StemV": 80,
            }
        )
        descendant = PDFDictionary(
            {
                "Type": PDFName("Font"),
                "Subtype": PDFName("CIDFontType0"),
                "BaseFont": PDFName(name),
                "CIDSystemInfo": PDFDictionary(
                    {
                        "Registry": PDFString("Adobe"),
                        "Ordering": PDFString(collection),
                        "Supplement": 2,
                    }
                ),
                "FontDescriptor": document.Reference(descriptor, f"descriptor {self.name}"),
                "DW": round(EM),
            }
        )
        font = PDFDictionary(
            {
                "Type": PDFName("Font"),
                "Subtype": PDFName("Type0"),
                "BaseFont": PDFName(f"{name}-{encoding}"),
                "Encoding": PDFName(encoding),
                "DescendantFonts": PDFArray([document.Reference(descendant, f"descendant {self.name}")]),
            }
        )
        document.idToObject[BasicFonts].dict[self.name] = document.Reference(font, f"font {self.name}")
