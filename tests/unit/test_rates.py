"""What tokens cost at given rates, and when rates hold."""

from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from gatekeeper.domain.rates import TOKENS_MAX, DatedRates, Rate, TokenCounts, rates_at

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TIERED = {"base": "3", "tiers": [{"above": 1000, "rate": "6"}, {"above": 2000, "rate": "9"}]}
ALL_KINDS = [{"input": TIERED, "cached_input": "0.3", "cache_write_input": "3.75", "output": "15", "call": "0.01"}]
BY_NIGHT: list[dict[str, Any]] = [
    {"input": "4"},
    {"since": "2026-11-20", "input": "8"},
    {"hours": ["22:00", "02:00"], "input": "1"},
]


def usd(
    entries: list[dict[str, Any]],
    *,
    read: int = 0,
    cached: int = 0,
    written: int = 0,
    output: int = 0,
    at: datetime = NOON,
) -> Decimal | None:
    tokens = TokenCounts(
        input_tokens=read, cached_input_tokens=cached, cache_write_input_tokens=written, output_tokens=output
    )
    rates = rates_at(tuple(map(DatedRates.from_document, entries)), at)
    return None if rates is None else rates.cost(tokens)


@pytest.mark.parametrize(
    "counts",
    [
        {"input_tokens": 10, "cached_input_tokens": 6, "cache_write_input_tokens": 5},
        {"cached_input_tokens": 1},
        {"input_tokens": -1},
        {"output_tokens": -1},
        {"input_tokens": 5, "cached_input_tokens": -1},
        {"input_tokens": 5, "cache_write_input_tokens": -1},
        {"input_tokens": TOKENS_MAX + 1},
        {"output_tokens": TOKENS_MAX + 1},
    ],
)
def test_impossible_counts(counts: dict[str, int]) -> None:
    """Counts below zero, above the limit, or with more cached than read, are refused."""
    with pytest.raises(ValueError, match="input"):
        TokenCounts(**counts)


def test_all_input_may_be_cached() -> None:
    """Cached and cache-writing tokens may make up the whole input."""
    TokenCounts(input_tokens=10, cached_input_tokens=6, cache_write_input_tokens=4)


def test_each_kind_has_its_rate() -> None:
    """Each token is charged once, by its own kind, and the call on top."""
    # 500 x 3 + 300 x 0.3 + 200 x 3.75 + 100 x 15 = 3840 per million, and 0.01 a call.
    assert usd(ALL_KINDS, read=1000, cached=300, written=200, output=100) == Decimal("0.01384")


@pytest.mark.parametrize(("read", "per_million"), [(1000, 3), (1001, 6), (2000, 6), (2001, 9)])
def test_a_tier_applies_to_the_whole_call(read: int, per_million: int) -> None:
    """Above a tier's start, not at it, all tokens cost the tier's rate."""
    assert usd([{"input": TIERED}], read=read) == Decimal(read * per_million).scaleb(-6)


def test_cached_tokens_count_towards_the_tier() -> None:
    """The tier goes by all input, cached or not."""
    assert usd(ALL_KINDS, read=2001, cached=2000) == Decimal("0.010609")


def test_a_missing_rate_for_cached_tokens_is_that_of_input() -> None:
    """Without a rate of their own, cached and cache-writing tokens cost what other input costs."""
    assert usd([{"input": "1"}], read=1000, cached=600, written=400) == Decimal("0.001")


def test_a_missing_rate_for_output_is_zero() -> None:
    """A model with a rate for input only, such as an embedding, charges no output."""
    assert usd([{"input": "1"}], read=1000, output=10**6) == Decimal("0.001")


def test_without_a_rate_for_input_a_model_is_unpriced() -> None:
    """A model that is not sold by the token has no price, rather than a price of zero."""
    assert usd([{}], read=1000) is None
    assert usd([], read=1000) is None


def test_a_free_model_is_free() -> None:
    """Rates of zero are a price of zero."""
    assert usd([{"input": "0", "output": "0"}], read=5, output=5) == 0


@pytest.mark.parametrize(
    ("at", "per_million"),
    [
        (datetime(2026, 11, 19, 21, 59, tzinfo=UTC), 4),
        (datetime(2026, 11, 19, 22, 0, tzinfo=UTC), 1),
        (datetime(2026, 11, 20, 1, 59, 59, 999999, tzinfo=UTC), 1),
        (datetime(2026, 11, 20, 2, 0, tzinfo=UTC), 8),
        (datetime(2026, 11, 20, 2, 0), 8),  # noqa: DTZ001 - without a time zone, it is UTC
        (datetime(2026, 11, 20, 9, 0, tzinfo=timezone(timedelta(hours=14))), 4),
        (datetime(2026, 11, 19, 20, 0, tzinfo=timezone(timedelta(hours=-7))), 8),
    ],
)
def test_the_last_rates_that_hold_win(at: datetime, per_million: int) -> None:
    """Dates and hours are UTC, hours may span midnight, and later entries win."""
    assert usd(BY_NIGHT, read=10**6, at=at) == per_million


def test_the_first_rates_hold_where_none_do() -> None:
    """Before any start date, the first rates count."""
    assert usd([{"since": "2026-12-01", "input": "1"}, {"since": "2027-01-01", "input": "2"}], read=10**6) == 1


def test_unpriced_until_a_date() -> None:
    """A model may become priced by the token on some day."""
    entries: list[dict[str, Any]] = [{}, {"since": "2026-11-20", "input": "2"}]
    assert usd(entries, read=10**6) == 2
    assert usd(entries, read=10**6, at=NOON - timedelta(days=1)) is None


def test_hours_within_a_day() -> None:
    """Hours begin with their start and end before their end."""
    rates = DatedRates(hours=(time(6), time(10)))
    assert [rates.hold_at(NOON.replace(hour=hour)) for hour in (5, 6, 9, 10)] == [False, True, True, False]


def test_rates_are_written_without_exponents() -> None:
    """A rate reads the same to everybody, however it was computed."""
    assert Rate(base=Decimal("1E-7")).to_document() == "0.0000001"
    assert Rate(base=Decimal("1E+2")).to_document() == "100"
