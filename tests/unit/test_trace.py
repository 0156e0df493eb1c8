"""What is a trace context, and what is garbage?"""

from __future__ import annotations

import re

import pytest

from gatekeeper.trace import Parent, new_trace_id, parent_of, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (VALID, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        # Later versions may say more.
        (f"01-{TRACE}-{SPAN}-01-more", 1),
        (f"cc-{TRACE}-{SPAN}-01", 1),
    ],
)
def test_a_trace_context(text: str, flags: int) -> None:
    """Trace, span and flags are taken from it."""
    assert parse(text) == Parent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"{VALID}-more",
        f"01-{TRACE}-{SPAN}-01more",
        f" {VALID}",
        f"{VALID}\n",
        f"00_{TRACE}_{SPAN}_01",
        VALID * 100,
    ],
)
def test_garbage(text: str) -> None:
    """What is not exactly of the form is none."""
    assert parse(text) is None


def test_it_comes_in_metadata() -> None:
    """The one header counts; where it is missing, said twice, or binary, there is none."""
    assert parent_of([("x", "y"), ("traceparent", VALID)]) == Parent(TRACE, SPAN, 1)
    assert parent_of([("traceparent", VALID), ("traceparent", VALID)]) is None
    assert parent_of([("traceparent", b"00")]) is None
    assert parent_of([]) is None
    assert parent_of(None) is None


def test_new_ids() -> None:
    """A call that names no trace has one that nobody else has."""
    made = {new_trace_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in made)
