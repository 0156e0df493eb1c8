"""What is on the pages, and where?

Lengths are points. A place is told from the left and from the top of the page, and text stands on its baseline. Pages
are gathered as PDF's own operators, since how many there are must be known before the first foot is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .shaping import Typesetter

WIDTH, HEIGHT = 595.28, 841.89
LEFT, RIGHT = 50.0, 545.28
TOP = 56.0
THOUSAND = 1000
# Text that is too wide for its place is set smaller, but stays legible.
SMALLEST = 0.55
# How high a capital is, of the type size.
CAPITALS = 0.714
HEX = re.compile(r"#[0-9a-fA-F]{6}\Z")

Colour = tuple[float, float, float]
INK: Colour = (0.10, 0.12, 0.15)
MUTED: Colour = (0.42, 0.45, 0.50)
HAIRLINE: Colour = (0.87, 0.88, 0.90)
FAINT: Colour = (0.93, 0.94, 0.95)
AMBER: Colour = (0.85, 0.52, 0.05)
DEFAULT: Colour = (0.06, 0.46, 0.43)
# Paler than this, letters are hard to read on white.
LIGHTEST = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How text is set."""

    size: float = 9
    bold: bool = False
    colour: Colour = INK

    @property
    def leading(self) -> float:
        """From one line to the next."""
        return self.size * 1.42


def colour(text: str) -> Colour:
    """Return the colour of #rrggbb; the product's own for anything else."""
    if not HEX.match(text):
        return DEFAULT
    red, green, blue = (int(text[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def legible(shade: Colour) -> Colour:
    """Return a colour dark enough for letters on white."""
    red, green, blue = shade
    light = 0.21 * red + 0.72 * green + 0.07 * blue
    factor = min(1.0, LIGHTEST / light) if light else 1.0
    return red * factor, green * factor, blue * factor


def tint(shade: Colour, strength: float) -> Colour:
    """Return a colour thinned with white."""
    red, green, blue = (1 - strength * (1 - part) for part in shade)
    return red, green, blue


@dataclass(slots=True, kw_only=True)
class Sheet:
    """A page as it is drawn."""

    typesetter: Typesetter
    operators: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, style: Style, *, width: float | None = None) -> None:
        """Draw a line of text from `x` on, set smaller where it is wider than `width`."""
        self._draw(x, y, text, style, width, aligned=0)

    def right(self, x: float, y: float, text: str, style: Style, *, width: float | None = None) -> None:
        """Draw a line of text that ends at `x`."""
        self._draw(x, y, text, style, width, aligned=1)

    def _draw(self, x: float, y: float, text: str, style: Style, width: float | None, *, aligned: int) -> None:
        shaped = self.typesetter.shape(text, bold=style.bold)
        size = style.size
        if width is not None and shaped.width * size > width * THOUSAND:
            size = max(width * THOUSAND / shaped.width, size * SMALLEST)
        x -= aligned * shaped.width * size / THOUSAND
        red, green, blue = style.colour
        drawn = [f"BT {red:.3f} {green:.3f} {blue:.3f} rg 1 0 0 1 {x:.2f} {HEIGHT - y:.2f} Tm"]
        for name, rise, body in shaped.parts:
            raised = f"{rise * size / THOUSAND:.2f} Ts " if rise else ""
            lowered = " 0 Ts" if rise else ""
            drawn.append(f"/{name} {size:.2f} Tf {raised}{body} TJ{lowered}")
        self.operators.append(f"{' '.join(drawn)} ET")

    def rule(
        self, y: float, shade: Colour = HAIRLINE, *, left: float = LEFT, right: float = RIGHT, thick: float = 0.5
    ) -> None:
        """Draw a level line."""
        red, green, blue = shade
        self.operators.append(
            f"{red:.3f} {green:.3f} {blue:.3f} RG {thick:.2f} w {left:.2f} {HEIGHT - y:.2f} m "
            f"{right:.2f} {HEIGHT - y:.2f} l S"
        )

    def box(self, x: float, y: float, width: float, height: float, shade: Colour) -> None:
        """Fill a rectangle whose upper left corner is given."""
        red, green, blue = shade
        self.operators.append(
            f"{red:.3f} {green:.3f} {blue:.3f} rg {x:.2f} {HEIGHT - y - height:.2f} {width:.2f} {height:.2f} re f"
        )

    def aslant(self, text: str, style: Style) -> None:
        """Draw a text across the page, from its lower left to its upper right."""
        shaped = self.typesetter.shape(text, bold=style.bold)
        half = shaped.width * style.size / THOUSAND / 2
        cosine, sine = 0.588, 0.809
        lift = style.size * CAPITALS / 2
        across = WIDTH / 2 - half * cosine + lift * sine
        down = HEIGHT / 2 - half * sine - lift * cosine
        red, green, blue = style.colour
        drawn = " ".join(f"/{name} {style.size:.2f} Tf {body} TJ" for name, _, body in shaped.parts)
        self.operators.append(
            f"BT {red:.3f} {green:.3f} {blue:.3f} rg {cosine} {sine} -{sine} {cosine} "
            f"{across:.2f} {down:.2f} Tm {drawn} ET"
        )


class Book:
    """The pages of a document, and the place on the last one where what comes next is drawn."""

    def __init__(self, typesetter: Typesetter, bottom: float, begin: Callable[[Sheet, int], float]) -> None:
        """Draw no lower than `bottom`; `begin` draws the head of a page (by number), and says where the rest begins."""
        self.typesetter = typesetter
        self.bottom = bottom
        self.sheets: list[Sheet] = []
        self._begin = begin
        self.y = 0.0
        self.turn()

    @property
    def sheet(self) -> Sheet:
        """The page that is drawn."""
        return self.sheets[-1]

    def turn(self) -> None:
        """Begin a page."""
        self.sheets.append(Sheet(typesetter=self.typesetter))
        self.y = self._begin(self.sheet, len(self.sheets))

    def need(self, height: float) -> bool:
        """Begin a page unless so much room is left; say whether one was begun."""
        if self.y + height <= self.bottom:
            return False
        self.turn()
        return True

    def paragraph(self, text: str, style: Style, *, left: float = LEFT, right: float = RIGHT) -> None:
        """Draw a text on as many lines, and pages, as it takes."""
        for line in self.typesetter.wrap(text, (right - left) * THOUSAND / style.size, bold=style.bold):
            self.need(style.leading)
            self.y += style.leading
            self.sheet.text(left, self.y - style.size * 0.35, line, style)
