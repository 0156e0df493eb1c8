"""What a call costs by a price book, without any library's prices."""

from datetime import UTC, datetime
from decimal import ROUND_UP, Context, Decimal, Inexact, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.prices import (
    MODEL_STRING_LENGTH_MAX,
    MODEL_STRINGS_REMEMBERED,
    PriceBook,
    Priced,
    PriceList,
    TokenCounts,
)
from gatekeeper.domain.rates import RATE_FRACTION_DIGITS_MAX, TOKENS_MAX

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUSE_DOCUMENT = {
    "version": "default-1",
    "providers": [
        {
            "id": "acme",
            "model_match": {"starts_with": "Acme-"},
            "provider_match": {"contains": "acme"},
            "fallbacks": ["nowhere", "borealis"],
            "models": [
                {
                    "name": "acme/acme-large",
                    "match": {"or": [{"equals": "acme-large"}, {"equals": "acme-large-2026-02-28"}]},
                    "prices": [
                        {
                            "input": {
                                "base": "3",
                                "tiers": [{"above": 1000, "rate": "6"}, {"above": 2000, "rate": "9"}],
                            },
                            "cached_input": "0.3",
                            "cache_write_input": "3.75",
                            "output": "15",
                            "call": "0.01",
                        }
                    ],
                },
                {"name": "acme/acme-small", "match": {"equals": "acme-small"}, "prices": [{"input": "1"}]},
                {"name": "acme/acme-ear", "match": {"equals": "acme-ear"}, "prices": [{}]},
            ],
        },
        {
            "id": "borealis",
            "models": [{"name": "borealis/b", "match": {"contains": "acme-b"}, "prices": [{"input": "2"}]}],
        },
    ],
    "agent_types": {"content": "0.04", "seo": "0.03", "*": "0.05"},
}
OWN_DOCUMENT = {
    "version": "own-7",
    "models": [{"name": "own/large", "match": {"equals": "acme-large"}, "prices": [{"input": "0.5"}]}],
    "agent_types": {"SEO": "0.001"},
}
DEFAULT_BOOK = PriceBook.from_document(HOUSE_DOCUMENT)
OWN_BOOK = PriceBook.from_document(OWN_DOCUMENT)
DEFAULT = PriceList(books=(DEFAULT_BOOK,))
LAYERED = PriceList(books=(OWN_BOOK, DEFAULT_BOOK))


def usd(model: str, *, read: int, prices: PriceList = DEFAULT) -> Decimal | None:
    priced = prices.settle(model=model, agent_type="content", tokens=TokenCounts(input_tokens=read), at=NOON)
    return None if priced is None else priced.amount


def book_with(**model: Any) -> dict[str, Any]:
    return {"version": "1", "models": [{"name": "m", "match": {"equals": "m"}, "prices": [{"input": "1"}]} | model]}


class TestMatching:
    @pytest.mark.parametrize(
        ("model", "name"),
        [
            ("acme-large", "acme/acme-large"),
            ("ACME-Large", "acme/acme-large"),
            ("acme-large-20260228", "acme/acme-large"),
            ("acme/acme-large", "acme/acme-large"),
            ("acme:acme-large", "acme/acme-large"),
            ("my-acme-proxy/acme-large", "acme/acme-large"),
            ("acme-b-1", "borealis/b"),
            ("acme:acme-b-1", "borealis/b"),
            ("borealis/acme-b", "borealis/b"),
            ("acme-large-20260230", None),
            ("borealis/acme-large", None),
            ("b", None),
            ("/acme-large", None),
            ("acme/", None),
            ("acme-large\n", None),
        ],
    )
    def test_what_a_model_string_means(self, model: str, name: str | None) -> None:
        """Case and the spelling of dates do not matter; a provider may be named first; one fallback counts."""
        found = DEFAULT_BOOK.find(model)
        assert (found and found.name) == name

    def test_an_overlong_model_string_is_unpriced(self) -> None:
        """A model string above the limit reaches no clause."""
        book = PriceBook.from_document(book_with(match={"starts_with": "m"}))
        prices = PriceList(books=(book,))
        assert usd("m" * MODEL_STRING_LENGTH_MAX, read=1, prices=prices) is not None
        assert usd("m" * (MODEL_STRING_LENGTH_MAX + 1), read=1, prices=prices) is None

    def test_the_memory_of_model_strings_is_bounded(self) -> None:
        """However many model strings callers invent, answers stay right and memory stays small."""
        prices = PriceList(books=(DEFAULT_BOOK,))
        for number in range(3 * MODEL_STRINGS_REMEMBERED):
            assert usd(f"unknown-{number}", read=1, prices=prices) is None
        assert prices._candidates.cache_info().currsize == MODEL_STRINGS_REMEMBERED  # type: ignore[attr-defined]
        assert usd("acme-small", read=1000, prices=prices) == Decimal("0.001")


class TestLayers:
    def test_the_own_book_comes_first(self) -> None:
        """An organization's own price wins, under its own version; what it lacks, the default book prices."""
        tokens = TokenCounts(input_tokens=1000)
        own = LAYERED.settle(model="acme-large", agent_type="", tokens=tokens, at=NOON)
        default = LAYERED.settle(model="acme-small", agent_type="", tokens=tokens, at=NOON)
        assert own == Priced(amount=Decimal("0.0005"), price_version="own-7", model_name="own/large")
        assert default == Priced(amount=Decimal("0.001"), price_version="default-1", model_name="acme/acme-small")

    def test_a_model_that_the_own_book_leaves_unpriced(self) -> None:
        """A model without rates in one book is looked for in the next."""
        own = PriceBook.from_document(book_with(match={"equals": "acme-small"}, prices=[{}]))
        assert usd("acme-small", read=1000, prices=PriceList(books=(own, DEFAULT_BOOK))) == Decimal("0.001")

    @pytest.mark.parametrize(
        ("agent_type", "amount", "version"),
        [
            ("seo", "0.0015", "own-7"),
            ("Seo", "0.0015", "own-7"),
            ("content", "0.06", "default-1"),
            ("legal", "0.075", "default-1"),
            ("", "0.075", "default-1"),
        ],
    )
    def test_agent_types(self, agent_type: str, amount: str, version: str) -> None:
        """Without a model, input and output cost the agent type's rate per thousand; `*` prices the rest."""
        tokens = TokenCounts(input_tokens=1000, cached_input_tokens=900, output_tokens=500)
        priced = LAYERED.settle(model="", agent_type=agent_type, tokens=tokens, at=NOON)
        assert priced == Priced(amount=Decimal(amount), price_version=version)

    def test_an_unknown_model_is_unpriced_whatever_the_agent_type(self) -> None:
        """The agent type's rate never stands in for a model's."""
        assert usd("gpt-unheard-of", read=1) is None

    def test_without_a_price_for_the_rest_an_agent_type_is_unpriced(self) -> None:
        """An agent type that no book names, with no `*`, has no price."""
        prices = PriceList(books=(OWN_BOOK,))
        assert prices.settle(model="", agent_type="email", tokens=TokenCounts(input_tokens=1), at=NOON) is None


class TestRounding:
    @pytest.mark.parametrize(
        ("rate", "settled", "estimated"),
        [("0.0005", 0, 1), ("0.0015", 2, 2), ("0.0014", 1, 2), ("0.000000001", 0, 1), ("0.002", 2, 2), ("0", 0, 0)],
    )
    def test_usage_rounds_half_to_even_and_estimates_round_up(self, rate: str, settled: int, estimated: int) -> None:
        """One token's cost is settled to the nearest nano, and estimated at the next one up."""
        prices = PriceList(books=(PriceBook.from_document(book_with(prices=[{"input": rate}])),))
        one = TokenCounts(input_tokens=1)
        settle = prices.settle(model="m", agent_type="", tokens=one, at=NOON)
        estimate = prices.estimate(model="m", agent_type="", tokens=one, at=NOON)
        assert settle is not None
        assert estimate is not None
        assert settle.amount.scaleb(9) == settled
        assert estimate.amount.scaleb(9) == estimated
        assert settle.amount.as_tuple().exponent == estimate.amount.as_tuple().exponent == -9

    def test_the_callers_decimal_context_does_not_matter(self) -> None:
        """Low precision, another rounding and traps in the caller's context change nothing."""
        counts = {"input_tokens": 987_654_321, "cached_input_tokens": 333_333, "cache_write_input_tokens": 77_777}
        expected = [self.price_all(counts), PriceBook.from_document(HOUSE_DOCUMENT)]
        with localcontext(Context(prec=5, rounding=ROUND_UP, traps=[Inexact])):
            assert [self.price_all(counts), PriceBook.from_document(HOUSE_DOCUMENT)] == expected

    def price_all(self, counts: dict[str, int]) -> list[Priced | None]:
        tokens = TokenCounts(**counts, output_tokens=123_457)
        calls: list[dict[str, Any]] = [
            {"model": model, "agent_type": "seo", "tokens": tokens, "at": NOON} for model in ("acme-large", "")
        ]
        prices = PriceList(books=(DEFAULT_BOOK,))
        return [price(**call) for call in calls for price in (prices.estimate, prices.settle)]

    @given(
        rates=st.tuples(*[st.decimals(0, 99_999, places=RATE_FRACTION_DIGITS_MAX)] * 4),
        counts=st.tuples(*[st.integers(0, TOKENS_MAX // 3)] * 4),
    )
    def test_costs_are_exact(self, rates: tuple[Decimal, ...], counts: tuple[int, ...]) -> None:
        """For all rates and counts within the limits, only the last digit is rounded, and once."""
        names = ("input", "cached_input", "cache_write_input", "output")
        entry = {name: format(rate, "f") for name, rate in zip(names, rates, strict=True)}
        prices = PriceList(books=(PriceBook.from_document(book_with(prices=[entry])),))
        other, cached, written, output = counts
        tokens = TokenCounts(
            input_tokens=other + cached + written,
            cached_input_tokens=cached,
            cache_write_input_tokens=written,
            output_tokens=output,
        )
        nanos = sum(Fraction(rate) * count for rate, count in zip(rates, counts, strict=True)) * 1000
        settled = prices.settle(model="m", agent_type="", tokens=tokens, at=NOON)
        estimated = prices.estimate(model="m", agent_type="", tokens=tokens, at=NOON)
        assert settled is not None
        assert estimated is not None
        assert Fraction(settled.amount) * 10**9 == round(nanos)
        assert Fraction(estimated.amount) * 10**9 == -(-nanos // 1)
