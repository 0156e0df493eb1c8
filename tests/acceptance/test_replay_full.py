"""All 49,334 real calls go through a running server."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from gatekeeper_client import Client
from tests.acceptance.replaying import (
    BOOKED,
    HELD_AND_EXPIRED,
    ORGANIZATION,
    ask,
    price_of_ended_calls,
    replay_through,
)
from tests.conftest import Server, verify

CALLS = 49_334
ENDED = 45_004


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_real_calls_cost_what_the_price_list_says(server: Server, trace: Path, database_url: str) -> None:
    """To the last nano; every call without an end has expired, no hold is left, and the books verify."""
    with Client(server.address) as client:
        client.set_cap(ORGANIZATION, cap=10**9)
    ended = replay_through(server, trace)
    expected = price_of_ended_calls(trace)
    assert (ended.code, ended.errors) == (0, "")
    counts = {name: ended.summary[name] for name in ("calls", "skipped", "denied", "failed", "late", "still_held")}
    assert counts == {"calls": CALLS, "skipped": 0, "denied": 0, "failed": 0, "late": 0, "still_held": 0}
    assert (ended.summary["committed"], ended.summary["expired"]) == (ENDED, CALLS - ENDED)
    assert Decimal(ended.summary["spent"]) == expected
    assert ask(database_url, BOOKED) == (ENDED, expected)
    assert ask(database_url, HELD_AND_EXPIRED) == (0, CALLS - ENDED)
    assert ask(database_url, "SELECT sum(spent), sum(reserved) FROM balances") == (expected, 0)
    assert verify(database_url) == []
