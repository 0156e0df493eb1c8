"""What happens to a request that breaks the rules? It is refused by the field, and nothing is written."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest

from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb

from .refusals import Refusal, refusal
from .requests import VALID, names_in, owner_of, send, valid
from .wire import Wire

NAMES = {
    "over-long": "x" * 129,
    "NUL": "a\0b",
    "newline": "a\nb",
    "trailing newline": "a\n",
    "tabulator": "\ta",
    "escape": "\x1b[31ma",
    "C1": "a\x85b",
    "zero width": "a\u200bb",
    "right to left": "\u202ea",
    "private": "\ue000",
    "leading blank": " a",
    "trailing blank": "a ",
    "blank": " ",
}
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
ENUMS = [
    ("Commit", "outcome"),
    ("SetCap", "window"),
    ("SetCap", "enforcement"),
    ("SetCap", "scope.kind"),
    ("ListBudgets", "scope_kind"),
    ("ListReservations", "state"),
    ("ListExecutions", "outcome"),
    ("ListExecutions", "kind"),
]
PERIODS = [
    *("2026-13", "2026-00", "2026-1", "26-11", "2026-11-", "2026-11-31", "2026-02-30", "2027-02-29", "2026-04-31"),
    *("2026-11-00", "0000-01-01", "0000-01", "2026-11-20T00:00", "20261120", "Total", "TOTAL", " total", "total\n"),
    *("november", "-1", "٢٠٢٦-١١", "2026-11-20 ", "*", "%"),
]
LABELS: dict[str, dict[str, str]] = {
    "too many": {f"k{number}": "v" for number in range(33)},
    "no key": {"": "v"},
    "key too long": {"k" * 64: "v"},
    "value too long": {"k": "v" * 256},
    "control in key": {"a\nb": "v"},
    "control in value": {"k": "a\0b"},
}


def refused(wire: Wire, name: str, request: Any) -> Refusal:
    """Send what must be refused as INVALID_ARGUMENT, with a word on each field, and must leave no trace."""
    before = wire.counts()
    found = refusal(send, wire, name, request)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert found.violations
    assert all(found.violations.values())
    assert found.retry_delay_s is None
    assert wire.counts() == before
    return found


@pytest.mark.parametrize("name", VALID)
def test_what_is_to_be_spoilt_is_good(wire: Wire, name: str) -> None:
    """The requests that these tests begin with break no rule."""
    try:
        send(wire, name, valid(name))
    except grpc.RpcError as error:
        assert error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


@pytest.mark.parametrize("bad", NAMES)
@pytest.mark.parametrize("name", VALID)
def test_names(wire: Wire, name: str, bad: str) -> None:
    """A name has up to 128 characters, none of them a control, and no blank at either end; every bad one is told."""
    request = valid(name)
    paths = set()
    for path, owner, field in names_in(request):
        setattr(owner, field, NAMES[bad])
        paths.add(path)
    assert set(refused(wire, name, request).violations) == paths


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *((name, "organization") for name in VALID if name.split()[0] not in {"Commit", "Release", "Extend"}),
        *((name, "reservation_id") for name in ("Commit", "Release", "Extend")),
    ],
)
def test_names_that_are_needed(wire: Wire, name: str, field: str) -> None:
    """A call needs its organization, or its reservation."""
    request = valid(name)
    request.ClearField(field)
    assert list(refused(wire, name, request).violations) == [field]


@pytest.mark.parametrize("bad", AMOUNTS)
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Reserve", "amount"),
        ("Commit", "amount"),
        ("Commit", "metrics.revenue"),
        ("Extend", "amount"),
        ("SetCap", "cap"),
    ],
)
def test_money(wire: Wire, name: str, path: str, bad: str) -> None:
    """Money is not negative, below 10¹², of one sign in both parts, and its currency three capital letters."""
    request = valid(name)
    owner, field = owner_of(request, path)
    for part, value in AMOUNTS[bad].items():
        setattr(getattr(owner, field), part, value)
    (violation,) = refused(wire, name, request).violations
    assert violation.startswith(path)


@pytest.mark.parametrize("bad", DURATIONS)
@pytest.mark.parametrize(("name", "path"), [("Reserve", "ttl"), ("Extend", "ttl"), ("Commit", "metrics.latency")])
def test_durations(wire: Wire, name: str, path: str, bad: str) -> None:
    """A duration is not negative, within its bound, and its nanos below a second and of its sign."""
    request = valid(name)
    owner, field = owner_of(request, path)
    duration = getattr(owner, field)
    duration.seconds, duration.nanos = DURATIONS[bad]["seconds"], DURATIONS[bad]["nanos"]
    (violation,) = refused(wire, name, request).violations
    assert violation.startswith(path)


@pytest.mark.parametrize("name", ["Reserve", "Extend"])
@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (86_400, 1), (86_401, 0)])
def test_times_to_live(wire: Wire, name: str, seconds: int, nanos: int) -> None:
    """A hold lasts more than nothing and at most 24 hours."""
    request = valid(name)
    request.ttl.seconds, request.ttl.nanos = seconds, nanos
    assert list(refused(wire, name, request).violations) == ["ttl"]


@pytest.mark.parametrize("count", [-1, 10**9 + 1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize(("name", "path"), COUNTS)
def test_counts(wire: Wire, name: str, path: str, count: int) -> None:
    """Tokens and conversions are not negative, and at most a billion."""
    request = valid(name)
    owner, field = owner_of(request, path)
    setattr(owner, field, count)
    assert list(refused(wire, name, request).violations) == [path]


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


@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
@pytest.mark.parametrize(("name", "path"), ENUMS)
def test_enums(wire: Wire, name: str, path: str, number: int) -> None:
    """A number that the contract does not name is refused, not read as something else."""
    request = valid(name)
    owner, field = owner_of(request, path)
    setattr(owner, field, number)
    assert list(refused(wire, name, request).violations) == [path]


def test_an_outcome_that_only_the_server_gives(wire: Wire) -> None:
    """Nobody commits as UNKNOWN: that is what an expiry says."""
    request = valid("Commit")
    request.outcome = 4
    assert list(refused(wire, "Commit", request).violations) == ["outcome"]


@pytest.mark.parametrize(
    ("kind", "scope_id", "field"), [(1, "x", "id"), (3, "", "id"), (5, "", "id"), (0, "x", "kind")]
)
def test_scopes(wire: Wire, kind: int, scope_id: str, field: str) -> None:
    """The organization has no id, everything else has a kind and one."""
    request = valid("SetCap")
    request.scope.kind, request.scope.id = kind, scope_id
    assert list(refused(wire, "SetCap", request).violations) == [f"scope.{field}"]
    asked = valid("GetStatus")
    asked.scopes.add(kind=kind, id=scope_id)
    assert list(refused(wire, "GetStatus", asked).violations) == [f"scopes[1].{field}"]


def test_too_many_scopes(wire: Wire) -> None:
    """At most a hundred scopes are asked for at once."""
    request = valid("GetStatus")
    request.scopes.extend([request.scopes[0]] * 100)
    assert list(refused(wire, "GetStatus", request).violations) == ["scopes"]


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("name", ["GetStatus", "ListExecutions"])
def test_periods(wire: Wire, name: str, period: str) -> None:
    """A period is a month, `total`, or a day that there is."""
    request = valid(name)
    request.period = period
    assert list(refused(wire, name, request).violations) == ["period"]


@pytest.mark.parametrize("bad", LABELS)
@pytest.mark.parametrize("name", ["Reserve", "Commit"])
def test_labels(wire: Wire, name: str, bad: str) -> None:
    """At most 32 labels, with keys of 1 to 63 characters and values of up to 255, none of them a control."""
    request = valid(name)
    request.labels.clear()
    request.labels.update(LABELS[bad])
    (violation,) = refused(wire, name, request).violations
    assert violation.startswith("labels")


@pytest.mark.parametrize("thresholds", [[0], [1001], [-1], [95, 80], [80, 80], [*range(1, 12)], [2**31 - 1]], ids=str)
def test_thresholds(wire: Wire, thresholds: list[int]) -> None:
    """At most ten percentages from 1 to 1000, ascending."""
    request = valid("SetCap")
    request.thresholds[:] = thresholds
    (violation,) = refused(wire, "SetCap", request).violations
    assert violation.startswith("thresholds")


@pytest.mark.parametrize(("field", "text"), [("reason", "x" * 501), ("reason", "a\nb"), ("etag", "x" * 65)])
def test_texts(wire: Wire, field: str, text: str) -> None:
    """A reason has up to 500 characters on one line, an etag up to 64."""
    request = valid("SetCap")
    setattr(request, field, text)
    assert list(refused(wire, "SetCap", request).violations) == [field]


@pytest.mark.parametrize("size", [-1, 1001, 100_000, -(2**31)])
@pytest.mark.parametrize("name", ["ListBudgets", "ListReservations", "ListExecutions"])
def test_page_sizes(wire: Wire, name: str, size: int) -> None:
    """A page has up to 1000 entries."""
    request = valid(name)
    request.page_size = size
    assert list(refused(wire, name, request).violations) == ["page_size"]


@pytest.mark.parametrize(("name", "choice"), [("Reserve", "estimate"), ("Commit", "cost")])
def test_neither_money_nor_tokens(wire: Wire, name: str, choice: str) -> None:
    """A Reserve says what the call may cost, a Commit what it did."""
    request = valid(name)
    request.ClearField("amount")
    assert list(refused(wire, name, request).violations) == [choice]


def test_all_that_is_wrong_is_told_at_once(wire: Wire) -> None:
    """Several bad fields are several violations, and the message counts them."""
    request = pb.ReserveRequest(reservation_id=" ", organization="", run="\n", validate_only=True)
    found = refused(wire, "Reserve", request)
    assert set(found.violations) == {"reservation_id", "organization", "run", "estimate"}
    assert "4 of its fields" in found.message
