"""What does an override pay for a call, from its hold to its cost? What is beyond the caps, and no more than that."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb

from .override_sums import EXCESSES, booked, paid, standing
from .overriding import anyone, opened
from .wire import Wire, campaign, decimals, run

DAY, TOTAL = budget_pb2.BUDGET_WINDOW_DAY, budget_pb2.BUDGET_WINDOW_TOTAL
MINUTE = Duration(seconds=60)
USED = "SELECT after FROM audit_events WHERE organization = %s AND action = 'OVERRIDE_USED' ORDER BY event_id"


def test_what_is_beyond_the_cap_is_booked(wire: Wire, organization: str) -> None:
    """A hold of 7 where 4 are left books 3, on the reservation, on the budget and on the override."""
    desk = opened(wire, organization, "10")
    wire.hold(organization, "6")
    override = desk.on("100")
    held = wire.hold(organization, "7", agent="a", run="r")
    assert (held.override.override_id, paid(held)) == (override.override_id, 3)
    assert (held.override.reservation_id, held.override.agent, held.override.run) == (held.reservation_id, "a", "r")
    assert wire.reservation(held).override == held.override
    assert standing(wire, organization) == (0, 13, 3)
    assert decimals(wire.budget(organization))[2] == 0
    assert booked(desk) == (3, 0)
    (use,) = desk.listed()[0].uses
    assert use == held.override


def test_where_there_is_room_nothing_is_booked(wire: Wire, organization: str) -> None:
    """An override that is on, and even one that is named, pays nothing for a call that the budgets have room for."""
    desk = opened(wire, organization, "10")
    override = desk.on("100")
    assert not wire.hold(organization, "6").HasField("override")
    assert not wire.hold(organization, "4", override_id=override.override_id).HasField("override")
    assert booked(desk) == (0, 0)
    assert wire.sql(USED, organization) == []


@pytest.mark.parametrize(
    ("cost", "still"),
    [("0", 0), ("4", 0), ("5.5", 1.5), ("7", 3), ("9", 5)],
    ids=["nothing", "in the budget", "less", "all", "more"],
)
def test_a_commit_books_the_cost(wire: Wire, organization: str, cost: str, still: float) -> None:
    """What a call does not cost comes off the part beyond the cap first; what it costs beyond its hold adds to that."""
    desk = opened(wire, organization, "10")
    wire.commit(wire.hold(organization, "6"), "6")
    override = desk.on("100")
    held = wire.hold(organization, "7")
    answer = wire.commit(held, cost)
    assert paid(answer.reservation) == still
    assert standing(wire, organization) == (6 + Decimal(cost), 0, still)
    assert booked(desk) == (0, still)
    assert wire.sql(EXCESSES, organization) == []
    entry = wire.executions(organization)[-1]
    assert (entry.override_id, from_money(entry.override_amount)) == (override.override_id if still else "", still)
    assert wire.commit(held, cost) == answer
    assert booked(desk) == (0, still)


def test_a_release_books_nothing(wire: Wire, organization: str) -> None:
    """All comes back, to the budget and to the override."""
    desk = opened(wire, organization, "10")
    desk.on("5")
    for _ in range(3):
        held = wire.hold(organization, "15")
        assert booked(desk) == (5, 0)
        assert paid(wire.release(held).reservation) == 0
        assert (standing(wire, organization), booked(desk)) == ((0, 0, 0), (0, 0))


def test_room_that_comes_back_is_for_all(wire: Wire, organization: str) -> None:
    """An override has paid for what it let through, though there is room by the time that it is committed."""
    desk = opened(wire, organization, "10")
    first = wire.hold(organization, "10")
    desk.on("5")
    wire.commit(wire.hold(organization, "4"), "4")
    wire.release(first)
    assert (standing(wire, organization), booked(desk)) == ((4, 0, 4), (0, 4))
    wire.hold(organization, "6")
    assert paid(wire.hold(organization, "1")) == 1


def test_several_budgets_and_windows(wire: Wire, organization: str) -> None:
    """Each budget in the way has its own part; the override is booked the largest, once."""
    wire.cap(organization, "10")
    wire.cap(organization, "8", window=DAY)
    wire.cap(organization, "20", window=TOTAL)
    wire.cap(organization, "5", campaign("c"))
    wire.cap(organization, "3", run("r"), window=TOTAL)
    desk = anyone(wire, organization)
    desk.on("100", scope=campaign("c"))
    held = wire.hold(organization, "9", campaign="c", run="r")
    assert paid(held) == 6
    parts = {(b.scope.kind, b.window): from_money(b.overridden) for b in wire.status(organization).budgets}
    kinds = budget_pb2.ScopeKind.Value
    assert parts == {
        (kinds("SCOPE_KIND_ORGANIZATION"), DAY): 1,
        (kinds("SCOPE_KIND_ORGANIZATION"), budget_pb2.BUDGET_WINDOW_MONTH): 0,
        (kinds("SCOPE_KIND_ORGANIZATION"), TOTAL): 0,
        (kinds("SCOPE_KIND_CAMPAIGN"), budget_pb2.BUDGET_WINDOW_MONTH): 4,
        (kinds("SCOPE_KIND_RUN"), TOTAL): 6,
    }
    wire.commit(held, "4.5")
    assert booked(desk) == (0, 1.5)
    assert sum(from_money(b.overridden) for b in wire.status(organization).budgets) == 1.5


def test_a_soft_budget_needs_no_override(wire: Wire, organization: str) -> None:
    """What a WARN budget lacks costs an override nothing; it is counted, also where another budget is paid for."""
    wire.cap(organization, "10")
    wire.cap(organization, "1", campaign("c"), enforcement=budget_pb2.ENFORCEMENT_SHADOW)
    desk = anyone(wire, organization)
    desk.on("100")
    assert not wire.hold(organization, "9", campaign="c").HasField("override")
    held = wire.hold(organization, "3", campaign="c")
    assert (paid(held), held.would_deny) == (2, True)
    assert wire.budget(organization, campaign("c")).would_deny_count == 2
    assert standing(wire, organization, campaign("c")) == (0, 12, 0)


def test_an_extension_is_paid(wire: Wire, organization: str) -> None:
    """Raising a hold past the cap books the rest; where the override has not so much, the hold stays as it is."""
    desk = opened(wire, organization, "10")
    override = desk.on("5")
    held = wire.hold(organization, "8")
    assert paid(wire.extend(held, "11").reservation) == 1
    raised = wire.extend(held, "15").reservation
    assert (raised.override.override_id, paid(raised)) == (override.override_id, 5)
    assert wire.extend(held, "15.01").denial.reason == pb.DENIAL_REASON_HEADROOM_HELD
    assert paid(wire.extend(held, "15", ttl=MINUTE).reservation) == 5
    assert (standing(wire, organization), booked(desk)) == ((0, 15, 5), (5, 0))
    wire.commit(held, "12")
    assert (standing(wire, organization), booked(desk)) == ((12, 0, 2), (0, 2))


def test_one_override_pays_for_one_hold(wire: Wire, organization: str) -> None:
    """What one override has begun to pay for, no other one raises; a hold without one takes any."""
    desk = opened(wire, organization, "10")
    first = desk.on("2")
    plain, held = wire.hold(organization, "1"), wire.hold(organization, "11")
    desk.off(override_id=first.override_id)
    second = desk.on("100")
    assert wire.extend(held, "13").HasField("denial")
    assert wire.extend(plain, "2").reservation.override.override_id == second.override_id


def test_a_hold_of_nothing_is_raised_by_any(wire: Wire, organization: str) -> None:
    """What an override let through without paying for it, another one may raise, and pays for it from then on."""
    desk = opened(wire, organization, "1")
    wire.commit(wire.hold(organization, "1"), "2")
    first = desk.on("5")
    held = wire.hold(organization, "0")
    assert (held.override.override_id, paid(held)) == (first.override_id, 0)
    desk.off(override_id=first.override_id)
    second = desk.on("5")
    raised = wire.extend(held, "3").reservation
    assert (raised.override.override_id, paid(raised)) == (second.override_id, 3)
    wire.commit(held, "4")
    assert (booked(desk, first.override_id), booked(desk, second.override_id)) == ((0, 0), (0, 4))


def test_who_only_asks_books_nothing(wire: Wire, organization: str) -> None:
    """With validate_only the answer says what would be paid, and nothing is."""
    desk = opened(wire, organization, "1")
    override = desk.on("5")
    held = wire.hold(organization, "3", validate_only=True)
    assert (held.override.override_id, paid(held)) == (override.override_id, 2)
    wire.deny(organization, "7", validate_only=True)
    assert (standing(wire, organization), booked(desk)) == ((0, 0, 0), (0, 0))
    assert wire.sql(USED, organization) == []


def test_a_use_is_written_down(wire: Wire, organization: str) -> None:
    """The audit trail keeps each call that was let through, with what it holds in all and how far it goes beyond."""
    override = opened(wire, organization, "1").on("5")
    held = wire.hold(organization, "3", campaign="c", agent="a", run="r")
    wire.extend(held, "4")
    first, raised = (json.loads(after) for (after,) in wire.sql(USED, organization))
    expected = {"override_id": override.override_id, "reservation_id": held.reservation_id, "campaign": "c"}
    assert first == {**first, **expected, "agent": "a", "run": "r", "amount": "3.00", "beyond": "2.00"}
    assert raised == {**first, "amount": "4.00", "beyond": "1.00"}


@pytest.mark.parametrize(("caps", "excess"), [(["8"], 2), (["20", "8"], 7)], ids=["lowered", "raised and lowered"])
def test_a_cap_that_is_changed(wire: Wire, organization: str, caps: list[str], excess: int) -> None:
    """What an override has paid stays paid, and accounts for what stood above the cap just before it was lowered."""
    desk = opened(wire, organization, "10")
    desk.on("5")
    held = wire.hold(organization, "15")
    for cap in caps:
        wire.cap(organization, cap)
        assert (standing(wire, organization), booked(desk)) == ((0, 15, 5), (5, 0))
    assert wire.sql(EXCESSES, organization) == [("CAP_CHANGED", excess)]
    wire.commit(held, "15")
    assert (standing(wire, organization), booked(desk)) == ((15, 0, 5), (0, 5))
    assert wire.sql(EXCESSES, organization) == [("CAP_CHANGED", excess)]
