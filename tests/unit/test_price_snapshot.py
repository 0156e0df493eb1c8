"""Whether the default price book prices every model as the library genai-prices does."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, localcontext
from functools import cache
from typing import Any

import pytest
from genai_prices import Usage, calc_price, types
from genai_prices.data import providers
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.domain.prices import PriceBook, PriceList, TokenCounts
from gatekeeper.services.price_snapshot import DEFAULT_AGENT_TYPE_PRICES, snapshot, snapshot_version

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MODELS = [(provider, model) for provider in providers for model in provider.models]
REFS = sorted({ref for provider, model in MODELS for ref in (model.id, f"{provider.id}/{model.id}")})
DIGESTS = {"genai-prices-0.2.3-r1": "db599b5c2c57efe31812b78b813f0a77f00bbe0afb0d209ac40bb7736ee93542"}


@cache
def document() -> dict[str, Any]:
    return snapshot()


@cache
def prices() -> PriceList:
    return PriceList(books=(PriceBook.from_document(document()),))


@cache
def name_of_model() -> dict[int, str]:
    return {id(model): f"{provider.id}/{model.id}" for provider, model in MODELS}


@cache
def library_call(ref: str) -> tuple[str, str | None] | None:
    """Find what to ask the library: first for the string as it is, then for the provider that it begins with."""
    name, *rest = re.split("[/:]", ref, maxsplit=1)
    for model_ref, provider_id in [(ref, None), *((each, name) for each in rest)]:
        try:
            get_snapshot().find_provider_model(model_ref, None, provider_id, None)
        except LookupError:
            continue
        return model_ref, provider_id
    return None


@cache
def library_model(ref: str) -> types.ModelInfo | None:
    if (call := library_call(ref)) is None:
        return None
    return get_snapshot().find_provider_model(call[0], None, call[1], None)[1]


def library_usd(ref: str, tokens: TokenCounts, at: datetime) -> Decimal | None:
    """Give the library's price to the nano, and deliberately none for what has no rate for input tokens.

    The library charges nothing for the tokens of a model that is sold by the hour, the page or the picture, nor for
    those of a model for which it knows no price at all. Neither makes them free.
    """
    if (call := library_call(ref)) is None:
        return None
    usage = Usage(
        input_tokens=tokens.input_tokens,
        cache_read_tokens=tokens.cached_input_tokens,
        cache_write_tokens=tokens.cache_write_input_tokens,
        output_tokens=tokens.output_tokens,
    )
    with localcontext(Context(prec=60)):
        answer = calc_price(usage, call[0], provider_id=call[1], genai_request_timestamp=at)
        return None if answer.model_price.input_mtok is None else answer.total_price.quantize(Decimal("1E-9"))


def our_usd(ref: str, tokens: TokenCounts, at: datetime) -> Decimal | None:
    priced = prices().settle(model=ref, agent_type="content", tokens=tokens, at=at)
    return None if priced is None else priced.amount


def instants(model: types.ModelInfo) -> Iterator[datetime]:
    """Instants on both sides of each date and hour at which a model's rates change."""
    yield NOON
    for price in model.prices if isinstance(model.prices, list) else ():
        match price.constraint:
            case types.StartDateConstraint(start_date=since):
                start = datetime.combine(since, time(), UTC)
                yield from (start - timedelta(microseconds=1), start + timedelta(days=400))
                yield start.astimezone(timezone(timedelta(hours=-9)))
                yield start.replace(tzinfo=None)
            case types.TimeOfDateConstraint(start_time=start_time, end_time=end_time):
                for bound in (start_time, end_time):
                    edge = datetime.combine(date(2027, 3, 1), bound)
                    yield from (edge, edge - timedelta(microseconds=1))
                    yield edge.astimezone(timezone(timedelta(hours=11)))


def usages(model: types.ModelInfo) -> Iterator[TokenCounts]:
    """Usages on both sides of each tier, with and without cached tokens and output."""
    sizes = {1_000}
    for price in model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]:
        for rate in vars(price.prices).values():
            if isinstance(rate, types.TieredPrices):
                sizes |= {size for tier in rate.tiers for size in (tier.start, tier.start + 1)}
    yield TokenCounts()
    yield TokenCounts(input_tokens=1_000, cached_input_tokens=1_000)
    for size in sorted(sizes):
        yield TokenCounts(input_tokens=size)
        yield TokenCounts(
            input_tokens=size, cached_input_tokens=size // 3, cache_write_input_tokens=size // 7, output_tokens=777
        )


@pytest.mark.parametrize("separator", ["", "/", ":"])
def test_every_model_string_means_the_same_model(separator: str) -> None:
    """Each model's id, alone and after its provider's, finds the model that the library finds."""
    [book], found_count = prices().books, 0
    for provider, model in MODELS:
        ref = f"{provider.id}{separator}{model.id}" if separator else model.id
        theirs, ours = library_model(ref), book.find(ref)
        assert (ours and ours.name) == (theirs and name_of_model()[id(theirs)]), ref
        found_count += ours is not None
    assert found_count > (2_000 if separator else 900)


@pytest.mark.parametrize("provider", providers, ids=lambda provider: str(provider.id))
def test_every_model_costs_the_same(provider: types.Provider) -> None:
    """Each model of each provider has the library's price: at each tier, date and hour, or none."""
    for model in provider.models:
        for ref in (model.id, f"{provider.id}/{model.id}"):
            if (meant := library_model(ref)) is None:
                assert our_usd(ref, TokenCounts(input_tokens=1), NOON) is None
                continue
            for at in instants(meant):
                for tokens in usages(meant):
                    assert our_usd(ref, tokens, at) == library_usd(ref, tokens, at), (ref, at, tokens)


@given(
    ref=st.sampled_from(REFS),
    counts=st.lists(st.integers(0, 400_000), min_size=4, max_size=4),
    at=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - as asked
)
@settings(deadline=None, max_examples=300)
def test_any_usage_costs_the_same(ref: str, counts: list[int], at: datetime) -> None:
    """Any usage at any time has the library's price, even in a decimal context of five digits."""
    other, cached, written, output = counts
    tokens = TokenCounts(
        input_tokens=other + cached + written,
        cached_input_tokens=cached,
        cache_write_input_tokens=written,
        output_tokens=output,
    )
    with localcontext(Context(prec=5)):
        ours = our_usd(ref, tokens, at)
    assert ours == library_usd(ref, tokens, at)


@pytest.mark.parametrize(
    ("model", "name", "counts", "usd"),
    [
        # other input x rate + cached x rate + cache-writing x rate + output x rate, per million
        ("claude-opus-4-5-20251101", "anthropic/claude-opus-4-5", (1000, 200, 100, 400), "0.014225"),
        ("claude-opus-4-6", "anthropic/claude-opus-4-6", (300_000, 0, 0, 1000), "1.525"),
        ("claude-opus-4-1-20250805", "anthropic/claude-opus-4-1", (1000, 0, 1000, 10), "0.0195"),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", (200_000, 0, 0, 1000), "0.615"),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", (200_001, 0, 0, 1000), "1.222506"),
        ("claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-0", (10_000, 5_000, 0, 0), "0.0165"),
        ("claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5", (1, 0, 0, 1), "0.000006"),
        ("anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5", (1, 1, 0, 0), "0.0000001"),
        ("gpt-5", "openai/gpt-5", (1_000_000, 400_000, 0, 100_000), "1.8"),
        ("gpt-5-20250807", "openai/gpt-5", (1_000_000, 0, 400_000, 0), "1.25"),
        ("gemini-2.5-pro", "google/gemini-2.5-pro", (200_000, 0, 0, 10), "0.2501"),
        ("gemini-2.5-pro", "google/gemini-2.5-pro", (300_000, 100_000, 0, 10), "0.52515"),
        ("openai:text-embedding-3-small", "openai/text-embedding-3-small", (1_000_000, 0, 0, 50), "0.02"),
        ("perplexity/sonar", "perplexity/sonar", (1000, 0, 0, 1000), "0.014"),
    ],
)
def test_prices_computed_by_hand(model: str, name: str, counts: tuple[int, ...], usd: str) -> None:
    """Well-known models cost what their price lists say."""
    read, cached, written, output = counts
    tokens = TokenCounts(
        input_tokens=read, cached_input_tokens=cached, cache_write_input_tokens=written, output_tokens=output
    )
    priced = prices().settle(model=model, agent_type="", tokens=tokens, at=NOON)
    assert priced is not None
    assert (priced.amount, priced.model_name, priced.price_version) == (Decimal(usd), name, snapshot_version())


@pytest.mark.parametrize(
    ("model", "at", "usd"),
    [
        ("claude-opus-4-6", datetime(2026, 3, 12, 23, 59, 59, tzinfo=UTC), 10),
        ("claude-opus-4-6", datetime(2026, 3, 13, tzinfo=UTC), 5),
        ("o3", datetime(2025, 6, 9, tzinfo=UTC), 10),
        ("o3", datetime(2025, 6, 10, tzinfo=UTC), 2),
        ("deepseek-chat", datetime(2026, 1, 1, 0, 29, tzinfo=UTC), Decimal("0.135")),
        ("deepseek-chat", datetime(2026, 1, 1, 0, 30, tzinfo=UTC), Decimal("0.27")),
    ],
)
def test_dated_prices_known_by_hand(model: str, at: datetime, usd: Decimal) -> None:
    """A million input tokens cost what the price list of that day and hour says."""
    assert our_usd(model, TokenCounts(input_tokens=10**6), at) == usd


@pytest.mark.parametrize("model", ["gpt-unheard-of", "nobody/gpt-5", "whisper-1", "mistral-ocr-latest", "openai/"])
def test_what_has_no_token_price_is_unpriced(model: str) -> None:
    """Unknown models, and models sold by the minute or the page, have no price."""
    assert our_usd(model, TokenCounts(input_tokens=1000), NOON) is None


@pytest.mark.parametrize(
    ("agent_type", "usd"),
    [("content", "0.06"), ("seo", "0.045"), ("email", "0.075"), ("ad", "0.09"), ("design", "0.105"), ("x", "0.06")],
)
def test_agent_types_have_default_prices(agent_type: str, usd: str) -> None:
    """Without a model, 1,500 tokens cost one and a half times the agent type's rate."""
    tokens = TokenCounts(input_tokens=1000, output_tokens=500)
    priced = prices().settle(model="", agent_type=agent_type, tokens=tokens, at=NOON)
    assert (priced and priced.amount) == Decimal(usd)


def test_the_document_survives_json() -> None:
    """The document is plain JSON, and a book read from it writes it again."""
    text = json.dumps(document())
    assert PriceBook.from_document(json.loads(text)).to_document() == document()
    assert {name: Decimal(rate) for name, rate in document()["agent_types"].items()} == DEFAULT_AGENT_TYPE_PRICES


def test_a_version_has_one_content() -> None:
    """The document of a version never changes; count REVISION up when it has to."""
    if (expected := DIGESTS.get(snapshot_version())) is None:
        pytest.skip(f"no digest is kept of {snapshot_version()}")
    content = json.dumps(document(), sort_keys=True).encode()
    assert hashlib.sha256(content).hexdigest() == expected


def test_the_version_is_known_without_the_library() -> None:
    """Asking for the version does not import the library, which is large and slow to import."""
    ask = "import sys, gatekeeper.services.price_snapshot as s; s.snapshot_version()"
    script = f"{ask}; sys.exit('genai_prices' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
