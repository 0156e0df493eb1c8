"""What happens to a request whose numbers break the rules? It is refused by the field, without a trace."""

from __future__ import annotations

import math
from typing import Any

import pytest

from .requests import owner_of, refused, valid
from .wire import Wire

AMOUNTS: dict[str, dict[str, Any]] = {
    "nanos": {"nanos": 1_000_000_000},
    "nanos least": {"nanos": -(2**31)},
    "nanos most": {"nanos": 2**31 - 1},
    "signs": {"units": 1, "nanos": -1},
    "other signs": {"units": -1, "nanos": 1},
    "negative": {"units": -1},
    "negative nano": {"units": 0, "nanos": -1},
    "too large": {"units": 10**12},
    "largest": {"units": 2**63 - 1, "nanos": 999_999_999},
    "smallest": {"units": -(2**63)},
    "lower case": {"currency_code": "usd"},
    "two letters": {"currency_code": "US"},
    "four letters": {"currency_code": "USDT"},
    "sign": {"currency_code": "U$D"},
    "wide letters": {"currency_code": "ＵＳＤ"},
    "blank": {"currency_code": " USD"},
    "digits": {"currency_code": "840"},
}
DURATIONS: dict[str, dict[str, int]] = {
    "negative": {"seconds": -1, "nanos": 0},
    "negative nano": {"seconds": 0, "nanos": -1},
    "too long": {"seconds": 700_000, "nanos": 0},
    "longest": {"seconds": 2**63 - 1, "nanos": 999_999_999},
    "shortest": {"seconds": -(2**63), "nanos": 0},
    "nanos": {"seconds": 1, "nanos": 1_000_000_000},
    "nanos most": {"seconds": 1, "nanos": 2**31 - 1},
    "nanos least": {"seconds": 1, "nanos": -(2**31)},
    "signs": {"seconds": 1, "nanos": -1},
}
COUNTS = [
    ("Reserve tokens", "tokens.input_tokens"),
    ("Reserve tokens", "tokens.cached_input_tokens"),
    ("Reserve tokens", "tokens.max_output_tokens"),
    ("Commit usage", "usage.input_tokens"),
    ("Commit usage", "usage.cached_input_tokens"),
    ("Commit usage", "usage.cache_write_input_tokens"),
    ("Commit usage", "usage.output_tokens"),
    ("Commit", "metrics.conversions"),
]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Reserve", "amount"),
        ("Commit", "amount"),
        ("Commit", "metrics.revenue"),
        ("Extend", "amount"),
        ("SetCap", "cap"),
        ("SetOverride", "max_amount"),
        ("SetOverride reservation", "max_amount"),
        ("SetOverride decision", "max_amount"),
        ("RequestOverride", "max_amount"),
    ],
)
def test_money(wire: Wire, name: str, path: str) -> None:
    """Money is not negative, below 10¹², of one sign in both parts, and its currency three capital letters."""
    for bad, parts in AMOUNTS.items():
        request = valid(name)
        owner, field = owner_of(request, path)
        for part, value in parts.items():
            setattr(getattr(owner, field), part, value)
        (violation,) = refused(wire, name, request).violations
        assert violation.startswith(path), bad


@pytest.mark.parametrize(("name", "path"), [("Reserve", "ttl"), ("Extend", "ttl"), ("Commit", "metrics.latency")])
def test_durations(wire: Wire, name: str, path: str) -> None:
    """A duration is not negative, within its bound, and its nanos below a second and of its sign."""
    for bad, parts in DURATIONS.items():
        request = valid(name)
        owner, field = owner_of(request, path)
        duration = getattr(owner, field)
        duration.seconds, duration.nanos = parts["seconds"], parts["nanos"]
        (violation,) = refused(wire, name, request).violations
        assert violation.startswith(path), bad


@pytest.mark.parametrize("name", ["Reserve", "Extend"])
@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (86_400, 1), (86_401, 0)])
def test_times_to_live(wire: Wire, name: str, seconds: int, nanos: int) -> None:
    """A hold lasts more than nothing and at most 24 hours."""
    request = valid(name)
    request.ttl.seconds, request.ttl.nanos = seconds, nanos
    assert list(refused(wire, name, request).violations) == ["ttl"]


@pytest.mark.parametrize(("name", "path"), COUNTS)
def test_counts(wire: Wire, name: str, path: str) -> None:
    """Tokens and conversions are not negative, and at most a billion."""
    for count in (-1, 10**9 + 1, 2**63 - 1, -(2**63)):
        request = valid(name)
        owner, field = owner_of(request, path)
        setattr(owner, field, count)
        assert list(refused(wire, name, request).violations) == [path], count


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("Reserve tokens", {"input_tokens": 5, "cached_input_tokens": 6}),
        ("Commit usage", {"input_tokens": 5, "cached_input_tokens": 6, "cache_write_input_tokens": 0}),
        ("Commit usage", {"input_tokens": 5, "cached_input_tokens": 0, "cache_write_input_tokens": 6}),
        ("Commit usage", {"input_tokens": 5, "cached_input_tokens": 3, "cache_write_input_tokens": 3}),
    ],
)
def test_tokens_that_do_not_add_up(wire: Wire, name: str, counts: dict[str, int]) -> None:
    """Cached and cache-writing tokens are among the input tokens."""
    request = valid(name)
    tokens = request.tokens if name == "Reserve tokens" else request.usage
    for field, count in counts.items():
        setattr(tokens, field, count)
    (violation,) = refused(wire, name, request).violations
    assert violation.endswith("cached_input_tokens")


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.001, 100.001, 1e308])
@pytest.mark.parametrize("field", ["quality_score", "impact_score"])
def test_scores(wire: Wire, field: str, score: float) -> None:
    """A score is a number from 0 to 100."""
    request = valid("Commit")
    setattr(request.metrics, field, score)
    assert list(refused(wire, "Commit", request).violations) == [f"metrics.{field}"]


@pytest.mark.parametrize("thresholds", [[0], [1001], [-1], [95, 80], [80, 80], [*range(1, 12)], [2**31 - 1]], ids=str)
def test_thresholds(wire: Wire, thresholds: list[int]) -> None:
    """At most ten percentages from 1 to 1000, ascending."""
    request = valid("SetCap")
    request.thresholds[:] = thresholds
    (violation,) = refused(wire, "SetCap", request).violations
    assert violation.startswith("thresholds")


@pytest.mark.parametrize("size", [-1, 1001, 100_000, -(2**31)])
@pytest.mark.parametrize("name", ["ListBudgets", "ListReservations", "ListExecutions"])
def test_page_sizes(wire: Wire, name: str, size: int) -> None:
    """A page has up to 1000 entries."""
    request = valid(name)
    request.page_size = size
    assert list(refused(wire, name, request).violations) == ["page_size"]
