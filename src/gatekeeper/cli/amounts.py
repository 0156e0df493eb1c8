"""How is money written on the command line? As plain decimals: no exponent, no separators, no sign."""

from __future__ import annotations

import re
from decimal import Decimal

import typer

from gatekeeper.domain.money import AMOUNT_MAX

PLAIN = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)", re.ASCII)
LENGTH_MAX = 64
DECIMALS_MAX = 9


def read_amount(text: str) -> Decimal:
    """Read an amount of money; raise typer.BadParameter for what is none."""
    amount = read_decimal(text)
    if len(text.partition(".")[2].rstrip("0")) > DECIMALS_MAX:
        message = f"{text!r} has more than {DECIMALS_MAX} decimals"
        raise typer.BadParameter(message)
    if amount >= AMOUNT_MAX:
        message = f"{text!r} is not below {AMOUNT_MAX:,}"
        raise typer.BadParameter(message)
    return amount


def read_decimal(text: str) -> Decimal:
    """Read a decimal that is not negative; raise typer.BadParameter for what is none."""
    if len(text) > LENGTH_MAX or not PLAIN.fullmatch(text):
        message = f"{text[:LENGTH_MAX]!r} is not an amount like 5000 or 0.10"
        raise typer.BadParameter(message)
    return Decimal(text)
