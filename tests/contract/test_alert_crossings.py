"""Which crossings of thresholds are told? Each once, in the transaction that crosses, whatever happens afterwards."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.v1 import budget_pb2

from .conftest import Clock
from .wire import Wire, beside, campaign, run

TOLD = """
SELECT kind, basis, threshold, round FROM alerts
WHERE organization = %s AND kind IN ('THRESHOLD', 'RESOLVED') AND scope_kind = %s ORDER BY alert_id
"""
ROWS = """
SELECT scope_kind, scope_id, budget_window, period, basis, threshold, cap, spent, reserved FROM alerts
WHERE organization = %s AND kind = 'THRESHOLD' ORDER BY alert_id
"""
SOFT = [budget_pb2.ENFORCEMENT_WARN, budget_pb2.ENFORCEMENT_SHADOW]


def used(*thresholds: int, number: int = 1) -> list[tuple[str, str, int, int]]:
    """Return crossings by what is spent and reserved together."""
    return [("THRESHOLD", "USED", threshold, number) for threshold in thresholds]


def spent(*thresholds: int, number: int = 1) -> list[tuple[str, str, int, int]]:
    """Return crossings by what is spent."""
    return [("THRESHOLD", "SPENT", threshold, number) for threshold in thresholds]


def resolved(*thresholds: int, basis: str = "USED", number: int = 1) -> list[tuple[str, str, int, int]]:
    """Return what is told of a cap that no longer is crossed."""
    return [("RESOLVED", basis, threshold, number) for threshold in thresholds]


def told(wire: Wire, organization: str, scope_kind: str = "ORGANIZATION") -> list[tuple[Any, ...]]:
    """Return kind, basis, threshold and round of what was told of budgets, in order."""
    return wire.sql(TOLD, organization, scope_kind)


def test_a_hold_crosses(wire: Wire, organization: str) -> None:
    """At exactly 80 % of the cap an alert stands in the table when the hold is answered; a nano below, none."""
    wire.cap(organization, "10")
    wire.hold(organization, "7.999999999")
    assert told(wire, organization) == []
    wire.hold(organization, "0.000000001")
    assert told(wire, organization) == used(80)
    wire.hold(organization, "1.4")
    assert told(wire, organization) == used(80)


def test_several_thresholds_at_once(wire: Wire, organization: str) -> None:
    """One hold that takes all tells every threshold, the lowest first; its commit tells them by what is spent."""
    wire.cap(organization, "10")
    held = wire.hold(organization, "10")
    assert told(wire, organization) == used(80, 95, 100)
    wire.commit(held, "9.6")
    assert told(wire, organization) == used(80, 95, 100) + spent(80, 95)
    wire.hold(organization, "0.4")
    assert told(wire, organization) == used(80, 95, 100) + spent(80, 95)


def test_an_alert_is_of_its_budget(wire: Wire, organization: str) -> None:
    """Each budget that a call falls under has its own alerts, with the amounts of that time."""
    wire.cap(organization, "100")
    wire.cap(organization, "10", campaign("c"), window=budget_pb2.BUDGET_WINDOW_TOTAL)
    wire.cap(organization, "9", run("r"), window=budget_pb2.BUDGET_WINDOW_DAY)
    held = wire.hold(organization, "8", campaign="c", run="r")
    wire.commit(held, "8.6")
    day = wire.budget(organization, run("r")).period
    assert wire.sql(ROWS, organization) == [
        ("CAMPAIGN", "c", "TOTAL", "total", "USED", 80, 10, 0, 8),
        ("RUN", "r", "DAY", day, "USED", 80, 9, 0, 8),
        ("CAMPAIGN", "c", "TOTAL", "total", "SPENT", 80, 10, Decimal("8.6"), 0),
        ("RUN", "r", "DAY", day, "SPENT", 80, 9, Decimal("8.6"), 0),
        ("RUN", "r", "DAY", day, "SPENT", 95, 9, Decimal("8.6"), 0),
        ("RUN", "r", "DAY", day, "USED", 95, 9, Decimal("8.6"), 0),
    ]


def test_what_comes_back_is_not_told(wire: Wire, organization: str) -> None:
    """A release resolves nothing, and filling the budget again tells nothing again."""
    wire.cap(organization, "10")
    for _ in range(3):
        wire.release(wire.hold(organization, "9"))
    assert told(wire, organization) == used(80)


def test_a_denied_call_tells_nothing(wire: Wire, organization: str) -> None:
    """What is not held crosses nothing; neither does what is only asked."""
    wire.cap(organization, "10")
    wire.hold(organization, "7")
    wire.deny(organization, "4")
    wire.hold(organization, "3", validate_only=True)
    assert told(wire, organization) == []


def test_an_extension_and_an_overage_cross(wire: Wire, organization: str) -> None:
    """A hold that is raised crosses as a new one does, and so does a cost beyond the hold and the cap."""
    wire.cap(organization, "10", thresholds=[80, 120])
    held = wire.hold(organization, "1")
    wire.extend(held, "8")
    assert told(wire, organization) == used(80)
    wire.commit(held, "12")
    assert told(wire, organization) == used(80) + spent(80, 120) + used(120)


@pytest.mark.parametrize("thresholds", [[1], [50, 51, 52], [100, 1000], [*range(10, 101, 10)]], ids=str)
def test_a_budget_has_its_own_thresholds(wire: Wire, organization: str, thresholds: list[int]) -> None:
    """What is set is told, and nothing else."""
    wire.cap(organization, "10", campaign("c"), thresholds=thresholds)
    wire.hold(organization, "10", campaign="c")
    assert told(wire, organization, "CAMPAIGN") == used(*(mark for mark in thresholds if mark <= 100))


@pytest.mark.parametrize("enforcement", SOFT, ids=["warn", "shadow"])
def test_a_soft_budget_tells(wire: Wire, organization: str, enforcement: budget_pb2.Enforcement) -> None:
    """WARN and SHADOW admit beyond the cap, and tell each threshold up to what is used."""
    wire.cap(organization, "10", enforcement=enforcement, thresholds=[80, 100, 150, 200])
    held = wire.hold(organization, "16")
    assert told(wire, organization) == used(80, 100, 150)
    wire.commit(held, "16")
    assert told(wire, organization) == used(80, 100, 150) + spent(80, 100, 150)


def test_a_cap_of_nothing(wire: Wire, organization: str) -> None:
    """A budget of zero that only warns is past all its thresholds with the first nano."""
    wire.cap(organization, "0", enforcement=budget_pb2.ENFORCEMENT_WARN)
    wire.hold(organization, "0")
    assert told(wire, organization) == []
    wire.hold(organization, "0.000000001")
    assert told(wire, organization) == used(80, 95, 100)


def test_a_raised_cap_resolves_and_arms(wire: Wire, organization: str) -> None:
    """What is below its threshold again is told as resolved, at once; crossed again, it is told again."""
    wire.cap(organization, "10")
    held = wire.hold(organization, "9.6")
    wire.cap(organization, "11")
    expected = used(80, 95) + resolved(95)
    assert told(wire, organization) == expected
    wire.hold(organization, "1")
    expected += used(95, number=2)
    assert told(wire, organization) == expected
    wire.cap(organization, "100")
    expected += resolved(80, 95, number=2)
    assert told(wire, organization) == expected
    wire.release(held)
    wire.hold(organization, "90")
    assert told(wire, organization) == expected + used(80, number=3)


def test_both_bases_are_resolved(wire: Wire, organization: str) -> None:
    """What is spent and what is used are resolved each for itself."""
    wire.cap(organization, "10")
    wire.commit(wire.hold(organization, "8"), "8")
    wire.hold(organization, "2")
    wire.cap(organization, "11")
    before = [*used(80), *spent(80), *used(95, 100)]
    assert told(wire, organization) == before + resolved(80, basis="SPENT") + resolved(95, 100)


def test_a_lowered_cap_tells_at_once(wire: Wire, organization: str) -> None:
    """Nobody has to make a call before it is told that the budget is nearly used up now."""
    wire.cap(organization, "100")
    wire.hold(organization, "9")
    wire.cap(organization, "10")
    assert told(wire, organization) == used(80, number=2)
    wire.cap(organization, "9")
    assert told(wire, organization) == used(80, number=2) + used(95, 100, number=3)


def test_a_new_budget_tells_what_it_finds(wire: Wire, organization: str) -> None:
    """A cap that is set when most of it is used already is told of by the SetCap that sets it."""
    wire.commit(wire.hold(organization, "9", campaign="c"), "9")
    wire.cap(organization, "10", campaign("c"))
    assert told(wire, organization, "CAMPAIGN") == spent(80) + used(80)
    wire.hold(organization, "0.5", campaign="c")
    assert told(wire, organization, "CAMPAIGN") == spent(80) + used(80, 95)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"frozen": True},
        {"enforcement": budget_pb2.ENFORCEMENT_WARN},
        {"reason": "why"},
        {"thresholds": [80, 95, 100]},
    ],
    ids=["nothing", "frozen", "enforcement", "reason", "same thresholds"],
)
def test_what_is_no_other_cap_tells_nothing(wire: Wire, organization: str, change: dict[str, Any]) -> None:
    """A SetCap that leaves cap and thresholds as they are arms nothing."""
    wire.cap(organization, "10")
    wire.hold(organization, "8")
    wire.cap(organization, "10", **change)
    wire.cap(organization, frozen=False)
    wire.hold(organization, "1")
    assert told(wire, organization) == used(80)


def test_other_thresholds_resolve_nothing_that_stands(wire: Wire, organization: str) -> None:
    """At 96 %, thresholds of 50 and 90 instead of 80 and 95 do not mean that it is below 95 %."""
    wire.cap(organization, "10", thresholds=[80, 95])
    wire.hold(organization, "9.6")
    wire.cap(organization, thresholds=[50, 90])
    assert not {row[0] for row in told(wire, organization)} & {"RESOLVED"}
    wire.cap(organization, thresholds=[50, 90, 96])
    assert told(wire, organization)[-1][:3] == ("THRESHOLD", "USED", 96)


def test_other_thresholds_resolve_what_no_longer_stands(wire: Wire, organization: str) -> None:
    """At 90 % after 96 %, 95 % is resolved with its threshold; 85 and 90 lie above what is known, and are told."""
    wire.cap(organization, "10", thresholds=[80, 95])
    wire.hold(organization, "8.6")
    wire.release(wire.hold(organization, "1"))
    wire.hold(organization, "0.4")
    wire.cap(organization, thresholds=[50, 85, 90])
    expected = used(80, 95) + resolved(95) + used(85, 90, number=2)
    assert told(wire, organization) == expected
    wire.cap(organization, "17")
    assert told(wire, organization) == expected + resolved(85, 90, number=2)


def test_each_is_told_once_through_many_calls(wire: Wire, organization: str) -> None:
    """However many calls cross together, and whatever the batches are, each threshold is told once."""
    wire.cap(organization, "10")
    with beside() as pool:
        held = [*pool.map(lambda _: wire.hold(organization, "0.1"), range(100))]
        assert told(wire, organization) == used(80, 95, 100)
        [*pool.map(lambda each: wire.commit(each, "0.1"), held)]
    assert told(wire, organization) == used(80, 95, 100) + spent(80, 95, 100)


def test_a_new_period_begins_anew(clock: Clock, organization: str) -> None:
    """What was told of a day says nothing of the next one; a late cost is told of the day that it counts for."""
    wire, year = clock.wire, clock.year
    wire.cap(organization, "100000")
    wire.cap(organization, "10", campaign("c"), window=budget_pb2.BUDGET_WINDOW_DAY)
    clock.set("03-31T23:59:00+00:00")
    late = wire.hold(organization, "8", campaign="c", ttl=Duration(seconds=60))
    clock.set("04-01T00:00:30+00:00")
    wire.hold(organization, "9", campaign="c", ttl=Duration(seconds=1))
    clock.advance(timedelta(hours=1))
    clock.swept()
    wire.commit(late, "9.5")
    assert [(row[3], row[4], row[5]) for row in wire.sql(ROWS, organization)] == [
        (f"{year}-03-31", "USED", 80),
        (f"{year}-04-01", "USED", 80),
        (f"{year}-03-31", "SPENT", 80),
        (f"{year}-03-31", "SPENT", 95),
        (f"{year}-03-31", "USED", 95),
    ]


def test_another_cap_is_nothing_to_a_period_that_is_over(clock: Clock, organization: str) -> None:
    """Raising a daily cap resolves today's alerts, not yesterday's."""
    wire, year = clock.wire, clock.year
    wire.cap(organization, "100000")
    wire.cap(organization, "10", campaign("c"), window=budget_pb2.BUDGET_WINDOW_DAY)
    for day in ("05-01", "05-02"):
        clock.set(f"{day}T12:00:00+00:00")
        wire.commit(wire.hold(organization, "8", campaign="c"), "0")
    wire.hold(organization, "8", campaign="c")
    wire.cap(organization, "20", campaign("c"), window=budget_pb2.BUDGET_WINDOW_DAY)
    found = wire.sql("SELECT period, threshold FROM alerts WHERE organization = %s AND kind = 'RESOLVED'", organization)
    assert found == [(f"{year}-05-02", 80)]
