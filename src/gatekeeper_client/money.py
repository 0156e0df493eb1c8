"""How does money cross the wire without losing a nano? `Money` there, `Decimal` here, never a float."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final, TypeAlias

from google.type.money_pb2 import Money

Amount: TypeAlias = Decimal | int | str | Money

NANO: Final = Decimal("1E-9")
NANOS_PER_UNIT: Final = 10**9
UNITS_MAX: Final = 2**63 - 1  # int64
DIGITS_MAX: Final = 28  # 19 before the point, 9 behind it


def to_money(amount: Amount, currency_code: str = "") -> Money:
    """Return the amount as `Money`, exactly; an empty currency code means the organization's. `Money` passes as it is.

    Raises TypeError for floats and other types, ValueError for what is not finite, too fine or too large.
    """
    if isinstance(amount, Money):
        return amount
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | str):
        msg = f"an amount is a Decimal, an int or a str, not the {type(amount).__name__} {amount!r}"
        raise TypeError(msg)
    nanos = _nanos(amount)
    sign = -1 if nanos < 0 else 1
    units, rest = divmod(abs(nanos), NANOS_PER_UNIT)
    if units > UNITS_MAX:
        msg = f"an amount is at most {UNITS_MAX} units, not {amount!r}"
        raise ValueError(msg)
    return Money(currency_code=currency_code, units=sign * units, nanos=sign * rest)


def from_money(money: Money) -> Decimal:
    """Return the value with its nine decimals."""
    return Decimal(f"{money.units * NANOS_PER_UNIT + money.nanos}E-9")


def _nanos(amount: Decimal | int | str) -> int:
    exact = Context(prec=DIGITS_MAX, traps=[Inexact, InvalidOperation])  # the caller's context might round
    try:
        return int(Decimal(amount).quantize(NANO, context=exact).scaleb(9, context=exact))
    except Inexact:
        msg = f"an amount has at most 9 decimals, not {amount!r}"
    except (InvalidOperation, ValueError):  # ValueError is NaN's
        msg = f"an amount is a finite number below 1E+19, not {amount!r}"
    raise ValueError(msg)
