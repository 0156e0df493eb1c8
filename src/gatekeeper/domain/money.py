"""What is an amount of money here? A `Decimal` with at most nine digits behind the point.

All sums stay far below the 28 digits that decimal's default context keeps, so they are exact.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

ZERO = Decimal(0)
NANO = Decimal("0.000000001")
NANOS_PER_UNIT = 1_000_000_000

# The largest single amount, cap or price. NUMERIC(28,9) holds ten million times as much, so no sum can overflow it.
AMOUNT_MAX = Decimal(1_000_000_000_000)

EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def from_nanos(units: int, nanos: int) -> Decimal:
    """Return `units` and `nanos` (thousand-millionths of a unit) as one amount; exact for any 64-bit units."""
    return Decimal(units * NANOS_PER_UNIT + nanos).scaleb(-9, EXACT)


def to_nanos(amount: Decimal) -> tuple[int, int]:
    """Split an amount into whole units and nanos of the same sign; the inverse of `from_nanos`."""
    total = int(amount.scaleb(9, EXACT))
    if total >= 0:
        return divmod(total, NANOS_PER_UNIT)
    units, nanos = divmod(-total, NANOS_PER_UNIT)
    return -units, -nanos


def plain(amount: Decimal) -> str:
    """Write an amount for people: no exponent, no needless zeros, at least two digits behind the point."""
    text = f"{amount.quantize(NANO, context=EXACT):f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<2}"
