"""Who pays for what a call costs beyond its hold? The hold's override as far as it can; the rest is an excess."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb

from .override_sums import EXCESSES, booked, paid, standing
from .overriding import anyone, opened
from .wire import ORGANIZATION, Wire, campaign


@pytest.mark.parametrize(("cost", "admitted"), [("5", 1), ("0.3", 4), ("0.05", 20)])
def test_small_holds_with_large_costs_use_it_up(wire: Wire, organization: str, cost: str, admitted: int) -> None:
    """Whoever holds 0.01 each and costs more is stopped once the costs have used up what was granted."""
    desk = opened(wire, organization)
    wire.commit(wire.hold(organization, "1"), "1")
    desk.on("1")
    for _ in range(admitted):
        wire.commit(wire.hold(organization, "0.01"), cost)
    for _ in range(20 - admitted):
        assert wire.deny(organization, "0.01").reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    spent = admitted * Decimal(cost)
    assert (standing(wire, organization), booked(desk)) == ((1 + spent, 0, 1), (0, 1))
    assert wire.sql(EXCESSES, organization) == ([("OVERAGE", spent - 1)] if spent > 1 else [])


def test_a_hold_of_nothing_needs_something_left(wire: Wire, organization: str) -> None:
    """An override lets holds of nothing past an overdrawn cap until it is used up, if only by what such holds cost."""
    desk = opened(wire, organization)
    wire.commit(wire.hold(organization, "1"), "2")
    override = desk.on("1")
    held = [wire.hold(organization, "0") for _ in range(3)]
    assert {(each.override.override_id, paid(each)) for each in held} == {(override.override_id, 0)}
    assert booked(desk) == (0, 0)
    assert paid(wire.commit(held[0], "0.999999999").reservation) == Decimal("0.999999999")
    wire.hold(organization, "0")
    assert paid(wire.commit(held[1], "3").reservation) == Decimal("0.000000001")
    denial = wire.deny(organization, "0")
    assert (denial.reason, from_money(denial.shortfall)) == (pb.DENIAL_REASON_OUT_OF_BUDGET, Decimal("4.999999999"))
    wire.deny(organization, "0", override_id=override.override_id)
    assert paid(wire.commit(held[2], "1").reservation) == 0
    assert booked(desk) == (0, 1)
    assert wire.sql(EXCESSES, organization) == [("OVERAGE", Decimal(text)) for text in ("1", "2.999999999", "1")]


@pytest.mark.parametrize(("cost", "still"), [("8", 4), ("9", 5), ("12", 5)], ids=["all", "all of its own", "part"])
def test_what_it_cannot_pay_is_an_excess(wire: Wire, organization: str, cost: str, still: int) -> None:
    """Of a hold of 7 that is 3 beyond the cap, an override of 5 pays up to 2 more; the rest is an excess."""
    desk = opened(wire, organization, "10")
    wire.commit(wire.hold(organization, "6"), "6")
    override = desk.on("5")
    answer = wire.commit(wire.hold(organization, "7"), cost)
    assert (from_money(answer.overage_amount), paid(answer.reservation)) == (Decimal(cost) - 7, still)
    assert (standing(wire, organization), booked(desk)) == ((6 + Decimal(cost), 0, still), (0, still))
    assert wire.sql(EXCESSES, organization) == ([("OVERAGE", 3)] if cost == "12" else [])
    entry = wire.executions(organization)[-1]
    assert (entry.override_id, from_money(entry.override_amount)) == (override.override_id, still)


def test_what_has_room_by_then_costs_nothing(wire: Wire, organization: str) -> None:
    """Where others gave back what they held, only what goes beyond the cap by the time of the commit is paid."""
    desk = opened(wire, organization, "10")
    other = wire.hold(organization, "9")
    desk.on("5")
    held = wire.hold(organization, "2")
    wire.release(other)
    assert paid(wire.commit(held, "10").reservation) == 1
    assert standing(wire, organization) == (10, 0, 1)
    assert paid(wire.commit(wire.hold(organization, "0.5"), "2").reservation) == 2
    assert (booked(desk), wire.sql(EXCESSES, organization)) == ((0, 3), [])


def test_a_hold_without_an_override_has_none_for_its_cost(wire: Wire, organization: str) -> None:
    """What a call costs beyond a hold that fitted in is an excess, also while an override is on that reaches it."""
    desk = opened(wire, organization, "10")
    desk.on("5")
    answer = wire.commit(wire.hold(organization, "10"), "12")
    assert not answer.reservation.HasField("override")
    assert (standing(wire, organization), booked(desk)) == ((12, 0, 0), (0, 0))
    assert wire.sql(EXCESSES, organization) == [("OVERAGE", 2)]


@pytest.mark.parametrize(("is_on", "still"), [(True, 7), (False, 0)], ids=["on", "off"])
def test_a_commit_after_a_release(wire: Wire, organization: str, is_on: bool, still: int) -> None:
    """What a released hold costs in the end is paid by the override that let it through, if that is on still."""
    desk = opened(wire, organization, "10")
    desk.on("7")
    held = wire.hold(organization, "15")
    assert paid(wire.release(held).reservation) == 0
    if not is_on:
        desk.off()
    answer = wire.commit(held, "18")
    assert (answer.late, paid(answer.reservation)) == (True, still)
    assert (standing(wire, organization), booked(desk)) == ((18, 0, still), (0, still))
    assert wire.sql(EXCESSES, organization) == [("LATE_COMMIT", 8 - still)]
    assert from_money(wire.executions(organization)[-1].override_amount) == still


def test_what_is_off_pays_no_more(wire: Wire, organization: str) -> None:
    """A hold under an override that was turned off keeps its part; what it costs beyond that no other one pays."""
    desk = opened(wire, organization, "10")
    override = desk.on("100")
    held = wire.hold(organization, "12")
    desk.off(override_id=override.override_id)
    desk.on("100")
    assert paid(wire.commit(held, "15").reservation) == 2
    assert booked(desk, override.override_id) == (0, 2)
    assert wire.sql(EXCESSES, organization) == [("OVERAGE", 3)]


def test_what_came_within_the_cap_hides_no_overage(wire: Wire, organization: str) -> None:
    """What an override paid for once, and no longer stands above the cap, accounts for nobody's overage."""
    desk = opened(wire, organization, "100")
    first = wire.hold(organization, "100")
    desk.on("50")
    second = wire.hold(organization, "50")
    wire.release(first)
    wire.commit(second, "50")
    assert (standing(wire, organization), booked(desk)) == ((50, 0, 50), (0, 50))
    wire.commit(wire.hold(organization, "40"), "100")
    assert wire.sql(EXCESSES, organization) == [("OVERAGE", 50)]
    assert (standing(wire, organization), booked(desk)) == ((150, 0, 50), (0, 50))


def test_each_budget_has_its_own_part(wire: Wire, organization: str) -> None:
    """The largest part is paid, once; of each budget what is beyond its cap, up to that; a soft budget has no part."""
    wire.cap(organization, "10")
    wire.cap(organization, "4", campaign("c"))
    wire.cap(organization, "1", window=budget_pb2.BUDGET_WINDOW_TOTAL, enforcement=budget_pb2.ENFORCEMENT_WARN)
    desk = anyone(wire, organization)
    desk.on("5")
    held = wire.hold(organization, "6", campaign="c")
    assert paid(held) == 2
    assert paid(wire.commit(held, "12").reservation) == 5
    parts = {(each.scope.kind, each.window): from_money(each.overridden) for each in wire.status(organization).budgets}
    assert parts == {
        (ORGANIZATION.kind, budget_pb2.BUDGET_WINDOW_MONTH): 2,
        (ORGANIZATION.kind, budget_pb2.BUDGET_WINDOW_TOTAL): 0,
        (campaign("c").kind, budget_pb2.BUDGET_WINDOW_MONTH): 5,
    }
    assert wire.sql(EXCESSES, organization) == [("OVERAGE", 3)]
    assert booked(desk) == (0, 5)
