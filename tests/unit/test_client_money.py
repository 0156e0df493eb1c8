"""Money survives the wire, and everything else is refused."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper_client import from_money, to_money

NANOS_MAX = (2**63 - 1) * 10**9 + 999_999_999


@given(nanos=st.integers(-NANOS_MAX, NANOS_MAX))
def test_every_amount_in_range_comes_back_to_the_nano(nanos: int) -> None:
    """Decimal → Money → bytes → Money → Decimal changes nothing, and both parts have one sign."""
    amount = Decimal(f"{nanos}E-9")
    money = Money.FromString(to_money(amount).SerializeToString())
    assert from_money(money) == amount
    assert money.units * money.nanos >= 0
    assert abs(money.nanos) < 10**9


@given(units=st.integers(-(2**63) + 1, 2**63 - 1), nanos=st.integers(0, 999_999_999))
def test_the_callers_decimal_context_rounds_nothing(units: int, nanos: int) -> None:
    """A context of three digits gives the same money and the same amount."""
    amount = Decimal(f"{units}.{nanos:09}")
    with localcontext(prec=3):
        assert from_money(to_money(amount)).compare_total(amount) == 0


@pytest.mark.parametrize("amount", [Decimal("0.10"), "0.10", "1e-1", Decimal("0.1000000000000000")])
def test_one_value_reads_the_same_however_it_is_written(amount: Decimal | str) -> None:
    """Ten cents are 100,000,000 nanos, trailing zeros or not."""
    assert to_money(amount) == Money(nanos=100_000_000)


def test_an_int_counts_units_and_the_currency_is_the_organizations() -> None:
    """An amount has no currency of its own unless one is named."""
    assert to_money(7) == Money(units=7)
    assert to_money(7, "EUR") == Money(units=7, currency_code="EUR")


def test_money_passes_as_it_is() -> None:
    """What came from the server can be sent back."""
    money = Money(units=1, currency_code="EUR")
    assert to_money(money) is money


@pytest.mark.parametrize("amount", [0.1, 1.0, True, None, b"1", (1, 2)])
def test_floats_and_other_types_are_refused(amount: object) -> None:
    """No float ever becomes money, not even a whole one."""
    with pytest.raises(TypeError, match=type(amount).__name__):
        to_money(amount)  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity", "", "ten", "1E19", "1E999999999"])
def test_what_is_no_finite_number_of_19_digits_is_refused(amount: str) -> None:
    """The message says what an amount is, and shows the culprit."""
    with pytest.raises(ValueError, match=f"finite number below 1E\\+19, not '{amount}'"):
        to_money(amount)


@pytest.mark.parametrize("amount", ["0.0000000001", "1.0000000005", Decimal("1E-10"), "1E-999999999"])
def test_more_than_nine_decimals_are_refused(amount: Decimal | str) -> None:
    """Nothing is rounded in silence."""
    with pytest.raises(ValueError, match="at most 9 decimals"):
        to_money(amount)


@pytest.mark.parametrize("amount", [2**63, -(2**63), "9223372036854775808"])
def test_units_beyond_int64_are_refused(amount: int | str) -> None:
    """The wire has 63 bits for units."""
    with pytest.raises(ValueError, match="at most 9223372036854775807 units"):
        to_money(amount)
