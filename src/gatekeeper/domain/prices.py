"""What does a call cost, and which price book says so?

A price book prices models by the token and, for calls that name no model, agent types by the
thousand tokens. An organization's own book comes before the default one, and the first book
that has a price decides. A call that no book prices is unpriced (None), never free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from functools import lru_cache, partial
from typing import TypeAlias

from .money import EXACT, NANO, ZERO
from .price_book import PriceBook, PricedModel
from .rates import TokenCounts, add_product, rates_at, scale

__all__ = ["PriceBook", "PriceList", "Priced", "TokenCounts"]

# A longer model string is unpriced: it would be a burden on the regular expressions.
MODEL_STRING_LENGTH_MAX = 128
# Callers may invent model strings; an organization really uses a few dozen.
MODEL_STRINGS_REMEMBERED = 256

_Candidates: TypeAlias = tuple[tuple[str, PricedModel], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A cost in USD with 9 decimals, and the book that says so.

    `model_name` is empty where the agent type was priced.
    """

    amount: Decimal
    price_version: str
    model_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """The price books that count for an organization, its own before the default one.

    Keep it as long as its books are in force: it remembers what model strings mean.
    """

    books: tuple[PriceBook, ...]
    _candidates: Callable[[str], _Candidates] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Set up the memory of model strings."""
        remember = lru_cache(maxsize=MODEL_STRINGS_REMEMBERED)
        object.__setattr__(self, "_candidates", remember(partial(_find_in_all, self.books)))

    def estimate(self, *, model: str, agent_type: str, tokens: TokenCounts, at: datetime) -> Priced | None:
        """Price a call to come, rounded up: a hold must never be too small by rounding.

        The worst case is the stated input and `output_tokens` at the caller's maximum. With a
        model, only the model counts; without one, the agent type. None: unpriced.
        """
        return self._price(model, agent_type, tokens, at, ROUND_CEILING)

    def settle(self, *, model: str, agent_type: str, tokens: TokenCounts, at: datetime) -> Priced | None:
        """Price a call that was made, as `estimate` does but rounded half to even."""
        return self._price(model, agent_type, tokens, at, ROUND_HALF_EVEN)

    def _price(self, model: str, agent_type: str, tokens: TokenCounts, at: datetime, rounding: str) -> Priced | None:
        if model:
            return self._price_model(model, tokens, at, rounding)
        return self._price_agent_type(agent_type, tokens, rounding)

    def _price_model(self, model: str, tokens: TokenCounts, at: datetime, rounding: str) -> Priced | None:
        if len(model) > MODEL_STRING_LENGTH_MAX:
            return None
        for version, priced_model in self._candidates(model):
            if (rates := rates_at(priced_model.prices, at)) is not None:
                amount = _to_nano(rates.cost(tokens), rounding)
                return Priced(amount=amount, price_version=version, model_name=priced_model.name)
        return None

    def _price_agent_type(self, agent_type: str, tokens: TokenCounts, rounding: str) -> Priced | None:
        count = tokens.input_tokens + tokens.output_tokens
        for book in self.books:
            if (rate := book.rate_of_agent_type(agent_type)) is not None:
                cost = scale(add_product(ZERO, rate, count), -3)
                return Priced(amount=_to_nano(cost, rounding), price_version=book.version)
        return None


def _to_nano(amount: Decimal, rounding: str) -> Decimal:
    return amount.quantize(NANO, rounding, EXACT)


def _find_in_all(books: tuple[PriceBook, ...], model: str) -> _Candidates:
    found = ((book.version, book.find(model)) for book in books)
    return tuple((version, model) for version, model in found if model is not None)
