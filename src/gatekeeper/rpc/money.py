"""How does money travel? As google.type.Money, exact on both sides."""

from __future__ import annotations

from decimal import Decimal

from google.type.money_pb2 import Money as WireMoney

from gatekeeper.domain import errors
from gatekeeper.domain.commands import Money
from gatekeeper.domain.money import AMOUNT_MAX, NANOS_PER_UNIT, from_nanos, to_nanos

CURRENCY_LENGTH = 3


def read_money(money: WireMoney, field: str) -> Money:
    """Read an amount that is not negative. Raises `InvalidField` for `field` or a part of it."""
    units, nanos, currency = money.units, money.nanos, money.currency_code
    if not -NANOS_PER_UNIT < nanos < NANOS_PER_UNIT:
        raise errors.InvalidField(field=f"{field}.nanos", problem="must be between -999,999,999 and 999,999,999")
    if units * nanos < 0:
        raise errors.InvalidField(field=f"{field}.nanos", problem="must have the sign of units")
    if units < 0 or nanos < 0:
        raise errors.InvalidField(field=field, problem="must not be negative")
    if units >= AMOUNT_MAX:
        raise errors.InvalidField(field=f"{field}.units", problem=f"must be less than {AMOUNT_MAX:,}")
    if currency and not (
        len(currency) == CURRENCY_LENGTH and currency.isascii() and currency.isalpha() and currency.isupper()
    ):
        raise errors.InvalidField(
            field=f"{field}.currency_code", problem="must be three capital letters like USD, or empty"
        )
    return Money(amount=from_nanos(units, nanos), currency=currency)


def write_money(amount: Decimal, currency: str) -> WireMoney:
    """Write an amount in `currency`."""
    units, nanos = to_nanos(amount)
    return WireMoney(currency_code=currency, units=units, nanos=nanos)
