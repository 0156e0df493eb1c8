"""What do tokens cost on the wire?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import grpc
import pytest
from genai_prices import Usage, calc_price

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import reservation_pb2 as pb

from .refusals import refusal
from .wire import Wire, campaign

MODEL = "claude-sonnet-4-5"
OWN_BOOK = {
    "version": "own-1",
    "models": [
        {
            "name": "tiny",
            "match": {"equals": "tiny"},
            "prices": [
                {
                    "input": {"base": "3", "tiers": [{"above": 1000, "rate": "6"}]},
                    "cached_input": "0.3",
                    "cache_write_input": "3.75",
                    "output": "15",
                }
            ],
        }
    ],
    "agent_types": {"seo": "0.5"},
}


@pytest.fixture
def own_prices(wire: Wire, organization: str) -> str:
    """Open an organization with prices of its own."""
    wire.cap(organization, "1000")
    wire.sql("INSERT INTO price_books VALUES (%s, 'own-1', %s)", organization, json.dumps(OWN_BOOK))
    wire.sql("UPDATE organizations SET price_version = 'own-1' WHERE organization = %s", organization)
    return organization


def test_a_known_model_costs_what_its_provider_asks(wire: Wire, organization: str) -> None:
    """The default book is that of genai-prices, and its version is kept with the reservation."""
    asked = pb.TokenEstimate(model=MODEL, input_tokens=100_000, cached_input_tokens=40_000, max_output_tokens=5_000)
    held = wire.hold(organization, tokens=asked)
    usage = Usage(input_tokens=100_000, cache_read_tokens=40_000, output_tokens=5_000)
    price = calc_price(usage, MODEL, genai_request_timestamp=datetime.now(UTC)).total_price
    assert from_money(held.amount) == price > 0
    assert held.model == MODEL
    assert held.price_version.startswith("genai-prices-")


@pytest.mark.parametrize(
    ("agent_type", "price"),
    [
        ("content", "0.04"),
        ("seo", "0.03"),
        ("email", "0.05"),
        ("ad", "0.06"),
        ("design", "0.07"),
        ("any other", "0.04"),
        ("", "0.04"),
        ("Design", "0.07"),
    ],
)
def test_tokens_without_a_model_go_by_agent_type(wire: Wire, organization: str, agent_type: str, price: str) -> None:
    """A thousand tokens, in and out together, cost what their agent type costs."""
    asked = pb.TokenEstimate(input_tokens=600, cached_input_tokens=600, max_output_tokens=400)
    held = wire.hold(organization, agent_type=agent_type, tokens=asked)
    assert from_money(held.amount) == Decimal(price)
    assert held.price_version.startswith("genai-prices-")
    committed = wire.commit(held, usage=pb.TokenUsage(input_tokens=500, output_tokens=1500))
    assert from_money(committed.execution.cost) == 2 * Decimal(price)


@pytest.mark.parametrize(
    ("asked", "amount"),
    [
        (pb.TokenEstimate(input_tokens=1000), "0.003"),
        (pb.TokenEstimate(input_tokens=1000, cached_input_tokens=1000), "0.0003"),
        (pb.TokenEstimate(input_tokens=1000, max_output_tokens=1000), "0.018"),
        (pb.TokenEstimate(input_tokens=1001), "0.006006"),
        (pb.TokenEstimate(), "0"),
    ],
    ids=["input", "cached", "output", "tier", "nothing"],
)
def test_the_worst_case_is_held(wire: Wire, own_prices: str, asked: pb.TokenEstimate, amount: str) -> None:
    """Input at full price unless said to be cached, all the output there may be, and the tier that this makes."""
    asked.model = "tiny"
    held = wire.hold(own_prices, tokens=asked)
    assert (from_money(held.amount), held.price_version) == (Decimal(amount), "own-1")


def test_own_prices_come_first_and_others_stay(wire: Wire, own_prices: str, organization: str) -> None:
    """An organization's book wins over the default one, which still prices what it lacks."""
    asked = pb.TokenEstimate(input_tokens=1000)
    assert from_money(wire.hold(own_prices, agent_type="seo", tokens=asked).amount) == Decimal("0.5")
    asked.model = MODEL
    assert wire.hold(own_prices, tokens=asked).price_version.startswith("genai-prices-")
    denial = wire.deny(f"{organization}2"[-128:], tokens=pb.TokenEstimate(model="tiny", input_tokens=1))
    assert denial.reason == pb.DENIAL_REASON_UNPRICED_MODEL


def test_the_rest_of_a_nano_is_held_and_not_spent(wire: Wire, own_prices: str) -> None:
    """A hold is rounded up to the nano, a cost to the nearest."""
    wire.sql(
        "UPDATE price_books SET document = jsonb_set(document, '{models,0,prices,0}', '{\"input\": \"0.0004\"}')"
        " WHERE organization = %s",
        own_prices,
    )
    held = wire.hold(own_prices, tokens=pb.TokenEstimate(model="tiny", input_tokens=1))
    assert from_money(held.amount) == Decimal("1e-9")
    assert from_money(wire.commit(held, usage=pb.TokenUsage(input_tokens=1)).execution.cost) == 0


def test_usage_costs_what_happened(wire: Wire, own_prices: str) -> None:
    """Tokens of each kind count at their own price, of the model that answered, and are recorded."""
    held = wire.hold(own_prices, "1", agent_type="seo")
    usage = pb.TokenUsage(
        model="tiny", input_tokens=1000, cached_input_tokens=500, cache_write_input_tokens=100, output_tokens=10
    )
    execution = wire.commit(held, usage=usage).execution
    assert from_money(execution.cost) == Decimal("0.001875")
    assert (execution.model, execution.price_version) == ("tiny", "own-1")
    assert (execution.input_tokens, execution.cached_input_tokens) == (1000, 500)
    assert (execution.cache_write_input_tokens, execution.output_tokens) == (100, 10)


def test_usage_without_a_model_is_of_the_reserved_one(wire: Wire, own_prices: str) -> None:
    """The reservation's model prices usage that names none."""
    held = wire.hold(own_prices, tokens=pb.TokenEstimate(model="tiny", max_output_tokens=1000))
    execution = wire.commit(held, usage=pb.TokenUsage(output_tokens=1000)).execution
    assert (execution.model, from_money(execution.cost)) == ("tiny", Decimal("0.015"))


def test_an_amount_beats_the_price_book(wire: Wire, own_prices: str) -> None:
    """A commit in money keeps the reservation's model and names no price version."""
    held = wire.hold(own_prices, tokens=pb.TokenEstimate(model="tiny", max_output_tokens=1000))
    execution = wire.commit(held, "7").execution
    assert (execution.model, execution.price_version, from_money(execution.cost)) == ("tiny", "", 7)


@pytest.mark.parametrize("model", ["no-such-model", "x" * 128, "gpt", "модель"])
def test_an_unknown_model_is_never_free(wire: Wire, organization: str, model: str) -> None:
    """Reserve denies it as UNPRICED_MODEL, in the smallest amount too, beside a budget of any size."""
    wire.cap(organization, "999999999999", campaign("c"))
    for tokens in (0, 1):
        denial = wire.deny(organization, tokens=pb.TokenEstimate(model=model, input_tokens=tokens), campaign="c")
        assert denial.reason == pb.DENIAL_REASON_UNPRICED_MODEL


def test_usage_of_an_unknown_model_needs_an_amount(wire: Wire, organization: str) -> None:
    """FAILED_PRECONDITION; the hold stays, and an amount settles it."""
    held = wire.hold(organization, "2")
    before = wire.counts()
    refused = refusal(wire.commit, held, usage=pb.TokenUsage(model="no-such-model", input_tokens=1))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNPRICED_MODEL")
    assert refused.metadata == {"model": "no-such-model"}
    assert wire.counts() == before
    assert from_money(wire.budget(organization).reserved) == 2
    assert not wire.commit(held, "2").late


def test_the_dearest_call_there_can_be(wire: Wire, organization: str) -> None:
    """A billion tokens of each kind are priced exactly and denied, not refused."""
    asked = pb.TokenEstimate(model=MODEL, input_tokens=10**9, max_output_tokens=10**9)
    denial = wire.deny(organization, tokens=asked)
    assert denial.reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    assert from_money(denial.requested) > 10_000


def test_an_organization_in_euros_has_no_dollar_prices(wire: Wire, organization: str) -> None:
    """The default book is in USD; in another currency only the organization's own book counts."""
    wire.cap(organization, "1000")
    wire.sql("UPDATE organizations SET currency = 'EUR' WHERE organization = %s", organization)
    denial = wire.deny(organization, tokens=pb.TokenEstimate(model=MODEL, input_tokens=1))
    assert denial.reason == pb.DENIAL_REASON_UNPRICED_MODEL
