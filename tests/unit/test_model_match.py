"""Which model strings a clause means."""

import time
from typing import Any

import pytest

from gatekeeper.domain.model_match import REGEX_CHOICES_MAX, REGEX_LENGTH_MAX, Clause, dash_dates


@pytest.mark.parametrize(
    ("clause", "matching", "other"),
    [
        ({"equals": "Ab"}, "ab", "abc"),
        ({"starts_with": "Ab"}, "abc", "cab"),
        ({"ends_with": "Ab"}, "cab", "abc"),
        ({"contains": "Ab"}, "cabd", "acb"),
        ({"regex": r"^a\d{2}$"}, "a12", "a1"),
        ({"or": [{"equals": "a"}, {"equals": "b"}]}, "b", "c"),
        ({"and": [{"contains": "a"}, {"contains": "b"}]}, "ba", "a"),
    ],
)
def test_clauses(clause: dict[str, Any], matching: str, other: str) -> None:
    """Each kind of clause matches what it says."""
    read = Clause.from_document(clause)
    assert read.matches(matching)
    assert not read.matches(other)


@pytest.mark.parametrize(
    ("ref", "dashed"),
    [
        ("m-20251211", "m-2025-12-11"),
        ("m-20251211:free", "m-2025-12-11:free"),
        ("m-20251211-v1", "m-2025-12-11-v1"),
        ("m-20250231", "m-20250231"),
        ("m-202512110", "m-202512110"),
        ("m20251211", "m20251211"),
    ],
)
def test_dates_get_dashes(ref: str, dashed: str) -> None:
    """Only a whole and possible date after a dash is rewritten."""
    assert dash_dates(ref) == dashed


@pytest.mark.parametrize(
    "regex",
    [
        "(a+)+$",
        "(a|ab)*$",
        "(a){9}",
        "a*b*c*",
        ".{1,99}.{1,99}.{1,99}",
        "a?" * (REGEX_CHOICES_MAX + 1),
        "a" * (REGEX_LENGTH_MAX + 1),
    ],
)
def test_costly_regular_expressions(regex: str) -> None:
    """Regular expressions that can take exponential time are refused."""
    with pytest.raises(ValueError, match="too costly"):
        Clause.from_document({"regex": regex})


def test_a_regular_expression_that_is_none() -> None:
    """What cannot be compiled is refused."""
    with pytest.raises(ValueError, match="not a regular expression"):
        Clause.from_document({"regex": "("})


def test_the_costliest_regular_expression_that_is_accepted() -> None:
    """At the limits, the worst model string takes well below two seconds, not for ever."""
    clause = Clause.from_document({"regex": "a?" * REGEX_CHOICES_MAX + ".*.*x$"})
    start = time.process_time()
    clause.matches("a" * 128)
    assert time.process_time() - start < 2
