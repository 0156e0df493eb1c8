"""Where do calls of lesser priorities stop, so that the last money is kept for what matters most?"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import grpc
import pytest

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb

from .overriding import anyone
from .refusals import refusal
from .requests import refused, valid
from .wire import Wire, campaign, decimals

CRITICAL, NORMAL, BATCH = (budget_pb2.PRIORITY_CRITICAL, budget_pb2.PRIORITY_NORMAL, budget_pb2.PRIORITY_BATCH)
UNSPECIFIED = budget_pb2.PRIORITY_UNSPECIFIED
OUT_OF_BUDGET, HEADROOM_HELD = pb.DENIAL_REASON_OUT_OF_BUDGET, pb.DENIAL_REASON_HEADROOM_HELD


def floors(**percents: int) -> list[budget_pb2.PriorityFloor]:
    """Return floors by the names of priorities, like `normal=97`."""
    return [
        budget_pb2.PriorityFloor(priority=budget_pb2.Priority.Value(f"PRIORITY_{name.upper()}"), percent=percent)
        for name, percent in percents.items()
    ]


def kept(budget: budget_pb2.Budget) -> dict[int, int]:
    """Return a budget's floors by priority; 100 is none."""
    return {floor.priority: floor.percent for floor in budget.floors if floor.percent < 100}


def test_every_priority_stops_at_its_floor(wire: Wire, organization: str) -> None:
    """Of 100, BATCH calls get 90, NORMAL ones 97, CRITICAL ones all; each denial names the floor that stopped it."""
    wire.cap(organization, "100", floors=floors(normal=97, batch=90))
    for priority, room, floor in ((BATCH, "90", 90), (NORMAL, "7", 97), (CRITICAL, "3", 0)):
        wire.hold(organization, room, priority=priority)
        denial = wire.deny(organization, "0.000000001", priority=priority)
        assert (denial.reason, denial.floor_percent) == (HEADROOM_HELD, floor)
        assert from_money(denial.shortfall) * 10**9 == 1
        assert (f"may use {floor} % of it" in denial.message) == bool(floor)
    assert decimals(wire.budget(organization)) == (0, 100, 0)


def test_a_floor_is_below_what_is_there_already(wire: Wire, organization: str) -> None:
    """Where more important calls have used what is above the floor, lesser ones lack that too."""
    wire.cap(organization, "100", floors=floors(batch=50))
    held = wire.hold(organization, "95", priority=CRITICAL)
    denial = wire.deny(organization, "1", priority=BATCH)
    assert (denial.reason, from_money(denial.shortfall), denial.floor_percent) == (HEADROOM_HELD, 46, 50)
    wire.commit(held, "49.5")
    denial = wire.deny(organization, "1", priority=BATCH)
    assert (denial.reason, from_money(denial.shortfall)) == (OUT_OF_BUDGET, 0.5)
    wire.hold(organization, "0.5", priority=BATCH)


def test_without_floors_all_are_alike(wire: Wire, organization: str) -> None:
    """Every priority may use all of a budget, and no denial names a floor."""
    assert kept(wire.cap(organization, "4")) == {}
    for priority in (BATCH, NORMAL, CRITICAL, UNSPECIFIED):
        assert wire.hold(organization, "1", priority=priority).priority == (priority or NORMAL)
    for priority in (BATCH, NORMAL, CRITICAL):
        assert wire.deny(organization, "1", priority=priority).floor_percent == 0


def test_who_does_not_say_is_normal(wire: Wire, organization: str) -> None:
    """An unspecified priority stops at the floor of NORMAL, and is shown as it."""
    wire.cap(organization, "10", floors=floors(normal=50, batch=50))
    held = wire.hold(organization, "5")
    assert held.priority == wire.reservation(held).priority == NORMAL
    assert wire.deny(organization, "0.01").floor_percent == 50


def test_the_budget_that_stands_in_the_way_names_its_floor(wire: Wire, organization: str) -> None:
    """Of two budgets, the denial has the floor of the one that lacks most."""
    wire.cap(organization, "100", floors=floors(batch=90))
    wire.cap(organization, "10", campaign("c"), floors=floors(normal=50, batch=20))
    denial = wire.deny(organization, "3", campaign="c", priority=BATCH)
    assert (denial.budget.scope, denial.floor_percent) == (campaign("c"), 20)
    denial = wire.deny(organization, "91", priority=BATCH)
    assert (denial.budget.scope.kind, denial.floor_percent) == (budget_pb2.SCOPE_KIND_ORGANIZATION, 90)
    wire.hold(organization, "10", campaign="c", priority=CRITICAL)
    assert wire.deny(organization, "1", campaign="c", priority=CRITICAL).floor_percent == 0


def test_a_floor_that_is_no_whole_nano(wire: Wire, organization: str) -> None:
    """A floor is rounded down to a nano: 90 % of 0.000000011 leaves BATCH calls 0.000000009."""
    wire.cap(organization, "0.000000011", floors=floors(batch=90))
    denial = wire.deny(organization, "0.00000001", priority=BATCH)
    assert from_money(denial.shortfall) * 10**9 == 1
    override = anyone(wire, organization).on("1")
    held = wire.hold(organization, "0.00000001", priority=BATCH)
    assert (held.override.override_id, from_money(held.override.amount) * 10**9) == (override.override_id, 1)


def test_an_extension_has_the_priority_of_its_hold(wire: Wire, organization: str) -> None:
    """A BATCH hold is raised up to its floor and not beyond; a CRITICAL one to the cap."""
    wire.cap(organization, "10", floors=floors(batch=50))
    held = wire.hold(organization, "4", priority=BATCH)
    denial = wire.extend(held, "5.5").denial
    assert (denial.floor_percent, from_money(denial.shortfall)) == (50, 0.5)
    wire.extend(held, "5")
    critical = wire.hold(organization, "1", priority=CRITICAL)
    assert wire.extend(critical, "5").reservation.priority == CRITICAL


def test_what_a_batch_call_costs_is_recorded(wire: Wire, organization: str) -> None:
    """A floor stops calls, not costs: a BATCH call that costs more than it held goes past its floor."""
    wire.cap(organization, "10", floors=floors(batch=50))
    held = wire.hold(organization, "5", priority=BATCH)
    assert from_money(wire.commit(held, "9").overage_amount) == 4
    assert decimals(wire.budget(organization)) == (9, 0, 1)
    assert wire.sql("SELECT count(*) FROM excesses WHERE organization = %s", organization) == [(0,)]


@pytest.mark.parametrize("enforcement", [budget_pb2.ENFORCEMENT_WARN, budget_pb2.ENFORCEMENT_SHADOW])
def test_a_soft_budget_counts_what_its_floor_would_stop(
    wire: Wire, organization: str, enforcement: budget_pb2.Enforcement
) -> None:
    """WARN and SHADOW admit beyond a floor and count it."""
    wire.cap(organization, "10", campaign("c"), enforcement=enforcement, floors=floors(batch=50))
    held = wire.hold(organization, "6", campaign="c", priority=BATCH)
    assert held.would_deny == (enforcement == budget_pb2.ENFORCEMENT_SHADOW)
    wire.hold(organization, "4", campaign="c", priority=CRITICAL)
    assert wire.budget(organization, campaign("c")).would_deny_count == 1


@pytest.mark.parametrize(("priority", "room", "paid"), [(CRITICAL, "10", 5), (NORMAL, "9", 6), (BATCH, "5", 10)])
def test_an_override_lets_every_priority_past(
    wire: Wire, organization: str, priority: budget_pb2.Priority, room: str, paid: int
) -> None:
    """What is beyond the floor, or the cap, is booked; what of it is beyond the cap is the budget's overridden."""
    wire.cap(organization, "10", floors=floors(normal=90, batch=50))
    wire.hold(organization, room, priority=priority)
    assert wire.deny(organization, "0.01", priority=priority).reason == HEADROOM_HELD
    override = anyone(wire, organization).on("100")
    amount = str(15 - int(room))
    held = wire.hold(organization, amount, priority=priority)
    assert (held.override.override_id, from_money(held.override.amount)) == (override.override_id, paid)
    status = wire.budget(organization)
    assert (from_money(status.reserved), from_money(status.overridden)) == (15, 5)


def test_an_override_past_a_floor_only(wire: Wire, organization: str) -> None:
    """A BATCH call between floor and cap is paid for, and the budget is not overridden."""
    wire.cap(organization, "10", floors=floors(batch=50))
    anyone(wire, organization).on("3")
    held = wire.hold(organization, "7", priority=BATCH)
    assert from_money(held.override.amount) == 2
    assert from_money(wire.budget(organization).overridden) == 0
    assert wire.deny(organization, "2", priority=BATCH).floor_percent == 50
    wire.commit(held, "6")
    (listed,) = anyone(wire, organization).listed()
    assert (from_money(listed.spent), from_money(listed.remaining)) == (1, 2)


def test_floors_are_part_of_a_budget(wire: Wire, organization: str) -> None:
    """They are answered and listed; those that are not named stay, and 100 takes one away."""
    assert kept(wire.cap(organization, "10", floors=floors(normal=97, batch=90))) == {NORMAL: 97, BATCH: 90}
    assert kept(wire.cap(organization, "20", floors=floors(batch=50))) == {NORMAL: 97, BATCH: 50}
    assert kept(wire.cap(organization, frozen=False)) == {NORMAL: 97, BATCH: 50}
    assert kept(wire.cap(organization, floors=floors(normal=100))) == {BATCH: 50}
    assert kept(wire.cap(organization, floors=floors(batch=100))) == {}
    wire.hold(organization, "20", priority=BATCH)


def test_a_floor_counts_from_now(wire: Wire, organization: str) -> None:
    """A floor that is set below what is used stops the next call of its priority, and takes nothing back."""
    wire.cap(organization, "10")
    wire.hold(organization, "8", priority=BATCH)
    wire.cap(organization, floors=floors(batch=50))
    assert from_money(wire.deny(organization, "1", priority=BATCH).shortfall) == 4
    wire.hold(organization, "1", priority=NORMAL)
    assert wire.sql("SELECT count(*) FROM excesses WHERE organization = %s", organization) == [(0,)]


def test_a_floor_is_no_cap(wire: Wire, organization: str) -> None:
    """A budget that stands at a floor is not used up: its status says what is there for the most important."""
    wire.cap(organization, "10", floors=floors(batch=50))
    wire.hold(organization, "5", priority=BATCH)
    assert wire.status(organization).can_execute
    assert decimals(wire.budget(organization)) == (0, 5, 5)


def test_the_same_again_in_another_priority(wire: Wire, organization: str) -> None:
    """The priority is part of what a reservation id stands for: with another one it is ALREADY_EXISTS."""
    held = wire.hold(organization, "1", reservation_id="same", priority=BATCH)
    assert wire.hold(organization, "1", reservation_id="same", priority=BATCH) == held
    refused_again = refusal(wire.reserve, organization, "1", reservation_id="same", priority=CRITICAL)
    assert (refused_again.code, refused_again.reason) == (grpc.StatusCode.ALREADY_EXISTS, "RESERVATION_MISMATCH")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"normal": 50, "batch": 60}),
        ({"normal": 50, "batch": 40}, {"normal": 60, "batch": 70}),
        ({"normal": 97, "batch": 90}, {"batch": 98}),
        ({"normal": 97}, {"batch": 100}),
    ],
    ids=["both", "both again", "batch above normal", "batch without"],
)
def test_batch_never_stops_above_normal(
    wire: Wire, organization: str, before: dict[str, int], after: dict[str, int]
) -> None:
    """Floors out of order are INVALID_ARGUMENT, given together or for BATCH alone, and change nothing."""
    stands = kept(wire.cap(organization, "10", floors=floors(**before)))
    request = valid("SetCap")
    request.organization = organization
    request.ClearField("scope")
    request.floors.extend(floors(**after))
    assert list(refused(wire, "SetCap", request).violations) == ["floors"]
    assert from_money(wire.budget(organization).cap) == 10
    assert kept(wire.cap(organization)) == stands


@pytest.mark.parametrize(
    ("before", "normal", "after"),
    [
        ({}, 50, {NORMAL: 50, BATCH: 50}),
        ({"batch": 90}, 80, {NORMAL: 80, BATCH: 80}),
        ({"normal": 97, "batch": 90}, 90, {NORMAL: 90, BATCH: 90}),
        ({"normal": 97, "batch": 60}, 70, {NORMAL: 70, BATCH: 60}),
        ({"normal": 97, "batch": 60}, 100, {BATCH: 60}),
    ],
    ids=["none", "below", "at", "above", "away"],
)
def test_batch_stops_where_normal_does(
    wire: Wire, organization: str, before: dict[str, int], normal: int, after: dict[int, int]
) -> None:
    """A floor of NORMAL that is set below BATCH's lowers that with it, and raises none."""
    wire.cap(organization, "10", floors=floors(**before))
    assert kept(wire.cap(organization, floors=floors(normal=normal))) == after
    wire.hold(organization, str(Decimal(after[BATCH]) / 10), priority=BATCH)
    assert wire.deny(organization, "0.000000001", priority=BATCH).floor_percent == after[BATCH]


BAD: dict[str, dict[str, Any]] = {
    "zero": {"priority": BATCH, "percent": 0},
    "negative": {"priority": BATCH, "percent": -1},
    "above 100": {"priority": NORMAL, "percent": 101},
    "critical": {"priority": CRITICAL, "percent": 100},
    "unspecified": {"priority": UNSPECIFIED, "percent": 50},
    "unknown": {"priority": 4, "percent": 50},
}


@pytest.mark.parametrize("bad", BAD)
def test_floors_that_are_none(wire: Wire, bad: str) -> None:
    """A floor is from 1 to 100 %, and for NORMAL or BATCH."""
    request = valid("SetCap")
    request.floors.add(**BAD[bad])
    (violation,) = refused(wire, "SetCap", request).violations
    assert violation.startswith("floors[0]")


@pytest.mark.parametrize("count", [2, 3])
def test_one_floor_for_each_priority(wire: Wire, count: int) -> None:
    """The same priority twice, and more floors than priorities have one, are INVALID_ARGUMENT."""
    request = valid("SetCap")
    request.floors.extend(floors(batch=50) * count)
    (violation,) = refused(wire, "SetCap", request).violations
    assert violation.startswith("floors")
