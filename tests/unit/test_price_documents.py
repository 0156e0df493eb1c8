"""How price books are read from and written to documents."""

import json
from decimal import Decimal
from typing import Any

import pytest

from gatekeeper.domain.price_book import PriceBook

RATES = {"input": {"base": "3", "tiers": [{"above": 9, "rate": "6"}]}, "cached_input": "0.3", "output": "15.00"}
WHOLE_BOOK = {
    "version": "1",
    "models": [
        {
            "name": "m",
            "match": {"and": [{"contains": "m"}, {"or": [{"regex": "^.$"}, {"equals": "mm"}]}]},
            "prices": [
                {},
                {"since": "2026-11-20", **RATES, "cache_write_input": "3.75", "call": "0.01"},
                {"hours": ["22:00:00", "02:30:00"], "input": "1"},
            ],
        }
    ],
    "providers": [
        {
            "id": "acme",
            "model_match": {"starts_with": "acme-"},
            "provider_match": {"ends_with": "acme"},
            "fallbacks": ["borealis"],
            "models": [],
        },
        {"id": "borealis", "models": [{"name": "b", "match": {"equals": "b"}, "prices": []}]},
    ],
    "agent_types": {"seo": "0.03", "*": "0.05"},
}


def book_with(**model: Any) -> dict[str, Any]:
    return {"version": "1", "models": [{"name": "m", "match": {"equals": "m"}, "prices": [{"input": "1"}]} | model]}


def test_a_book_survives_json() -> None:
    """What a book writes is JSON, the same as it was read from."""
    written = PriceBook.from_document(WHOLE_BOOK).to_document()
    assert json.loads(json.dumps(written)) == WHOLE_BOOK


def test_a_book_may_be_empty() -> None:
    """All but the version may be absent, and texts are compared in lower case."""
    assert PriceBook.from_document({"version": "1"}) == PriceBook(version="1")
    upper, lower = ({"version": "1", "agent_types": {name: "0.1"}} for name in ("SEO", "seo"))
    assert PriceBook.from_document(upper) == PriceBook.from_document(lower)
    assert PriceBook.from_document(book_with(match={"equals": "M"})) == PriceBook.from_document(book_with())


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({}, "version None: lacks 'version'"),
        ({"version": ""}, "expected a text"),
        ({"version": 3}, "expected a text"),
        ({"version": "1", "modles": []}, "version '1': unknown keys: \\['modles'\\]"),
        ({"version": "1", "models": 3}, "version '1': "),
        ({"version": "1", "models": ["gpt-5"]}, "name 'gpt-5': "),
        ({"version": "1", "providers": [{"id": "x"}]}, "id 'x': lacks 'models'"),
        ({"version": "1", "agent_types": {"seo": 0.04}}, "expected a text"),
        ({"version": "1", "agent_types": {"seo": "-1"}}, "not a rate: -1"),
        ({"version": "1", "agent_types": {"seo": "100"}}, "not a rate: 100"),
        ({"version": "1", "models": [{"name": "m", "prices": []}]}, "name 'm': lacks 'match'"),
        (book_with(match={}), "name 'm': "),
        (book_with(match={"equals": ""}), "expected a text"),
        (book_with(match={"equals": "a", "contains": "b"}), "name 'm': "),
        (book_with(match={"like": "a"}), "unknown clause: 'like'"),
        (book_with(match={"regex": "("}), "not a regular expression"),
    ],
)
def test_what_is_wrong_with_a_book(document: dict[str, Any], complaint: str) -> None:
    """A bad document is refused with a ValueError that says what is wrong, and where."""
    with pytest.raises(ValueError, match=complaint):
        PriceBook.from_document(document)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"inptu": "1"}, "name 'm': unknown keys: \\['inptu'\\]"),
        ({"output": "1"}, "name 'm': rates without one for input"),
        ({"input": 1.5}, "name 'm': expected a text"),
        ({"input": "free"}, "not a decimal: 'free'"),
        ({"input": "NaN"}, "not a rate: NaN"),
        ({"input": "sNaN"}, "not a rate: sNaN"),
        ({"input": "Infinity"}, "not a rate: Infinity"),
        ({"input": "-0"}, "not a rate: -0"),
        ({"input": "1E+999999"}, "not a rate"),
        ({"input": "1E-31"}, "not a rate"),
        ({"input": "100000"}, "not a rate"),
        ({"input": {"base": "1"}}, "lacks 'tiers'"),
        ({"input": {"base": "1", "tiers": [{"above": 1.5, "rate": "1"}]}}, "a tier above 1.5"),
        ({"input": {"base": "1", "tiers": [{"above": -1, "rate": "1"}]}}, "a tier above -1"),
        ({"input": {"base": "1", "tiers": [{"above": 2, "rate": "1"}, {"above": 1, "rate": "1"}]}}, "do not ascend"),
        ({"since": "soon", "input": "1"}, "name 'm': Invalid isoformat string: 'soon'"),
        ({"hours": ["01:00"], "input": "1"}, "name 'm': "),
        ({"hours": ["01:00Z", "02:00Z"], "input": "1"}, "hours are UTC"),
    ],
)
def test_what_is_wrong_with_rates(entry: dict[str, Any], complaint: str) -> None:
    """Bad rates and dates are refused with a ValueError that names the model."""
    with pytest.raises(ValueError, match=complaint):
        PriceBook.from_document(book_with(prices=[entry]))


def test_a_clause_too_deep_to_read() -> None:
    """A clause nested beyond all reason is refused like any bad document."""
    clause: dict[str, Any] = {"equals": "m"}
    for _ in range(5000):
        clause = {"or": [clause]}
    with pytest.raises(ValueError, match="name 'm': "):
        PriceBook.from_document(book_with(match=clause))


def test_rates_keep_their_value() -> None:
    """A rate is read as the decimal that was written."""
    [model] = PriceBook.from_document(book_with(prices=[{"input": "0.1"}])).models
    [dated] = model.prices
    assert dated.rates is not None
    assert dated.rates.input.base == Decimal("0.1")
