"""Which prices does a fresh installation start with?

Those that the library genai-prices carries, as a document for `PriceBook.from_document`, and
rates by agent type. Importing that library takes 130 ms and 27 MB, so only `snapshot` does it:
compare `snapshot_version` with what is stored first.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gatekeeper.domain.model_match import Clause
from gatekeeper.domain.price_book import ANY_AGENT_TYPE, PriceBook, PricedModel, Provider
from gatekeeper.domain.rates import DatedRates, ModelRates, Rate, Tier, scale

if TYPE_CHECKING:
    from genai_prices import types as library

# Counts the changes made here: a version stands for one content.
REVISION: Final = 1

# USD per thousand tokens of calls that name no model.
DEFAULT_AGENT_TYPE_PRICES: Final = MappingProxyType(
    {
        "content": Decimal("0.04"),
        "seo": Decimal("0.03"),
        "email": Decimal("0.05"),
        "ad": Decimal("0.06"),
        "design": Decimal("0.07"),
        ANY_AGENT_TYPE: Decimal("0.04"),
    }
)


def snapshot_version() -> str:
    """Give the version of the book that `snapshot` would make, without making it."""
    return f"genai-prices-{version('genai-prices')}-r{REVISION}"


def snapshot() -> dict[str, Any]:
    """Write the installed library's standard prices as the document of a price book.

    Prices of variants (batch, priority) and of anything but text tokens and calls are left out.
    """
    from genai_prices.data import providers

    book = PriceBook(
        version=snapshot_version(),
        providers=tuple(map(_provider, providers)),
        agent_types=DEFAULT_AGENT_TYPE_PRICES,
    )
    return book.to_document()


def _provider(provider: library.Provider) -> Provider:
    return Provider(
        id=provider.id,
        models=tuple(_model(provider.id, model) for model in provider.models),
        model_match=_clause(provider.model_match),
        provider_match=_clause(provider.provider_match),
        fallbacks=tuple(provider.fallback_model_providers or ()),
    )


def _clause(match: library.MatchLogic | None) -> Clause | None:
    """Read a clause, a dataclass of one field: `or_` and `and_` hold clauses, others a text."""
    return None if match is None else Clause.from_document(_clause_document(match))


def _clause_document(match: library.MatchLogic) -> dict[str, Any]:
    [(kind, operand)] = vars(match).items()
    if isinstance(operand, list):
        operand = [_clause_document(part) for part in operand]
    return {kind.rstrip("_"): operand}


def _model(provider_id: str, model: library.ModelInfo) -> PricedModel:
    if isinstance(model.prices, list):
        prices = tuple(map(_dated_rates, model.prices))
    else:
        prices = (DatedRates(rates=_model_rates(model.prices)),)
    return PricedModel(
        name=f"{provider_id}/{model.id}",
        match=Clause.from_document(_clause_document(model.match)),
        prices=prices,
    )


def _dated_rates(price: library.ConditionalPrice) -> DatedRates:
    from genai_prices import types

    rates = _model_rates(price.prices)
    match price.constraint:
        case None:
            return DatedRates(rates=rates)
        case types.StartDateConstraint(start_date=since):
            return DatedRates(since=since, rates=rates)
        case types.TimeOfDateConstraint(start_time=start, end_time=end):
            return DatedRates(hours=(_utc(start), _utc(end)), rates=rates)


def _utc(bound: time) -> time:
    """Give a time of day in UTC; without a time zone it is that already."""
    day = datetime.combine(date(1970, 1, 1), bound, bound.tzinfo or UTC)
    return day.astimezone(UTC).time()


def _model_rates(prices: library.ModelPrice) -> ModelRates | None:
    """Take the rates of text tokens; without one for input the model is not priced by them."""
    if (rate_of_input := _rate(prices.input_mtok)) is None:
        return None
    return ModelRates(
        input=rate_of_input,
        cached_input=_rate(prices.cache_read_mtok),
        cache_write_input=_rate(prices.cache_write_mtok),
        output=_rate(prices.output_mtok),
        call=_rate(prices.requests_kcount, exponent=-3),
    )


def _rate(price: Decimal | library.TieredPrices | None, *, exponent: int = 0) -> Rate | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return Rate(base=scale(price, exponent))
    tiers = (Tier(above=tier.start, rate=scale(tier.price, exponent)) for tier in price.tiers)
    return Rate(base=scale(price.base, exponent), tiers=tuple(tiers))
