"""Do other processes hear of all organizations whose budgets have changed, however many?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.services.changes import EVERY
from gatekeeper.services.watch import names_in, payloads
from gatekeeper.storage.notifications import PAYLOAD_BYTES_MAX

LONGEST = ["😀" * 124 + f"{number:04}" for number in range(1000)]
names = st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=128))


@given(names)
def test_names_come_back_as_they_went(told: list[str]) -> None:
    """In notifications that PostgreSQL takes, whatever characters they have."""
    assert [name for payload in payloads("ours", told) for name in names_in(payload, "theirs")] == told


def test_many_names_are_many_notifications() -> None:
    """Each is small enough, and none is left out."""
    written = payloads("ours", LONGEST)
    assert max(len(payload.encode()) for payload in written) <= PAYLOAD_BYTES_MAX
    assert [name for payload in written for name in names_in(payload, "theirs")] == LONGEST


def test_our_own_are_no_news() -> None:
    """What this process has sent, it knows."""
    assert names_in(payloads("ours", ["acme"])[0], "ours") == []


@pytest.mark.parametrize(
    "payload", ["", "*", "acme", "[]", "7", "null", '["acme"]', '{"organizations": ["acme"]}', "{}"]
)
def test_what_is_not_understood_may_be_about_everybody(payload: str) -> None:
    """A newer version's notification is one that something has changed."""
    assert names_in(payload, "ours") == [EVERY]
