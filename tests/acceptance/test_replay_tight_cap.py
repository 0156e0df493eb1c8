"""Four servers on one database and 200 callers meet a cap that is far too small."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from gatekeeper_client import Client, Denied
from tests.acceptance.replaying import HELD_AND_EXPIRED, ORGANIZATION, ask, replay
from tests.conftest import ServerFactory, verify

CAP = Decimal(100)
CAMPAIGN_CAP = Decimal(20)
ROWS = 15_000
SAMPLES_MIN = 1000

# Money that is taken only moves from reserved to spent, because every call tells its end and costs what was held for
# it. So a budget that had no room for a denied call has none at the end either, by at least the shortfall it named.
UNEXPLAINED = """
    SELECT count(*)
    FROM denials
    LEFT JOIN balances USING (organization, scope_kind, scope_id, budget_window, period)
    WHERE reason NOT IN ('OUT_OF_BUDGET', 'HEADROOM_HELD')
       OR shortfall <= 0
       OR balances.cap IS NULL
       OR requested + spent + reserved - balances.cap < shortfall
"""
WITHOUT_HEADROOM_TIME = "SELECT count(*) FROM denials WHERE (reason = 'HEADROOM_HELD') <> (headroom_at IS NOT NULL)"
STANDING = "SELECT scope_kind, cap, spent + reserved FROM balances"


@dataclass(slots=True)
class Samples:
    """What a sampler saw: how often it looked, and every budget that stood above its cap."""

    taken: int = 0
    beyond: list[tuple[str, Decimal, Decimal]] = field(default_factory=list)


@contextmanager
def sampling(database_url: str) -> Iterator[Samples]:
    """Read all balances over and over, from another connection, until the block ends."""
    samples, done = Samples(), threading.Event()

    def look() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not done.wait(0.002):
                found = connection.execute(STANDING, prepare=True).fetchall()
                samples.taken += 1
                samples.beyond += [(kind, cap, used) for kind, cap, used in found if used > cap]

    sampler = threading.Thread(target=look)
    sampler.start()
    try:
        yield samples
    finally:
        done.set()
        sampler.join()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cap_that_is_far_too_small_holds(start_server: ServerFactory, database_url: str, trace: Path) -> None:
    """No sampled instant is above it, the room left is smaller than any denied call, and every denial is explained."""
    addresses = [start_server(database_url=database_url).address for _ in range(4)]
    with Client(addresses[0]) as client:
        client.set_cap(ORGANIZATION, cap=CAP)
        client.set_cap(ORGANIZATION, scope=("CAMPAIGN", "campaign-1"), cap=CAMPAIGN_CAP)
    with sampling(database_url) as samples:
        # Without the column of ends every call commits: nothing comes back by expiry.
        ended = replay(trace, addresses, "--column", "stop=", "--concurrency", "200", "--limit", str(ROWS))
    assert (ended.code, ended.errors) == (0, "")
    assert samples.taken > SAMPLES_MIN
    assert samples.beyond == []

    summary = ended.summary
    assert summary["admitted"] + summary["denied"] == ROWS
    assert summary["committed"] == summary["admitted"]
    assert ask(database_url, HELD_AND_EXPIRED) == (0, 0)
    assert ask(database_url, "SELECT count(*) FROM reservations WHERE committed <> amount") == (0,)
    assert ask(database_url, "SELECT count(*), count(DISTINCT reservation_id) FROM denials") == (summary["denied"],) * 2
    assert ask(database_url, UNEXPLAINED) == (0,)
    assert ask(database_url, WITHOUT_HEADROOM_TIME) == (0,)
    for kind, cap in (("ORGANIZATION", CAP), ("CAMPAIGN", CAMPAIGN_CAP)):
        left, smallest_denied = left_over(database_url, kind)
        assert 0 <= left < smallest_denied < cap
    assert Decimal(summary["spent"]) == CAP - left_over(database_url, "ORGANIZATION")[0]
    assert ask(database_url, "SELECT count(DISTINCT owner) FROM reservations") == (4,)
    assert verify(database_url) == []
    assert_explained(addresses[1])


def left_over(database_url: str, kind: str) -> tuple[Decimal, Decimal]:
    """Return the room that a budget has at the end, and the smallest call that it denied."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT cap - spent - reserved, (SELECT min(requested) FROM denials WHERE scope_kind = balances.scope_kind)"
            " FROM balances WHERE scope_kind = %s",
            [kind],
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def assert_explained(address: str) -> None:
    """Ask once more for what cannot be had: the answer says why, in fields and in a sentence."""
    with Client(address) as client:
        verdict = client.reserve(ORGANIZATION, amount=CAP)
    assert isinstance(verdict, Denied)
    assert "has no room" in verdict.denial.message
    assert verdict.denial.HasField("budget")
    assert verdict.denial.shortfall.units > 0
