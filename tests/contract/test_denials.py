"""Why is a call denied, and what is said about it?"""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb

from .wire import ORGANIZATION, QUEUED_S, Wire, agent, beside, campaign, decimals, department

UNPRICED = pb.TokenEstimate(model="no-such-model", input_tokens=1)
DAY, MONTH, TOTAL = (
    budget_pb2.BUDGET_WINDOW_DAY,
    budget_pb2.BUDGET_WINDOW_MONTH,
    budget_pb2.BUDGET_WINDOW_TOTAL,
)
DENIALS = (
    "SELECT reservation_id, campaign, model, reason, scope_kind, scope_id, budget_window, requested, shortfall,"
    " headroom_at FROM denials WHERE organization = %s ORDER BY denial_id"
)


def test_out_of_budget(wire: Wire, organization: str) -> None:
    """What is spent leaves no room: the budget, what was asked, what is lacking, and no time to wait for."""
    wire.cap(organization, "10", campaign("c"))
    wire.commit(wire.hold(organization, "9", campaign="c"), "9")
    answer = wire.reserve(organization, "3.5", campaign="c")
    denial = answer.denial
    assert denial.reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    assert denial.budget.scope == campaign("c")
    assert decimals(denial.budget) == (9, 0, 1)
    assert from_money(denial.requested) == Decimal("3.5")
    assert from_money(denial.shortfall) == Decimal("2.5")
    assert not denial.HasField("headroom_time")
    assert denial.message == (
        f"The month budget of campaign 'c' ({denial.budget.period}) has no room: 9.00 spent and 0.00 held of 10.00 USD;"
        " 3.50 asked, 2.50 too much."
    )
    assert [budget.scope for budget in answer.budgets] == [ORGANIZATION, campaign("c")]


def test_headroom_held(wire: Wire, organization: str) -> None:
    """What is spent leaves room and holds do not: says when the first of them can come back at the earliest."""
    wire.cap(organization, "10", campaign("c"))
    wire.commit(wire.hold(organization, "2", campaign="c"), "2")
    wire.hold(organization, "3", campaign="c", ttl=Duration(seconds=500))
    first = wire.hold(organization, "3", campaign="c", ttl=Duration(seconds=100))
    wire.hold(organization, "3", ttl=Duration(seconds=50))
    wire.release(wire.hold(organization, "1", campaign="c", ttl=Duration(seconds=10)))
    denial = wire.deny(organization, "4", campaign="c")
    assert denial.reason == pb.DENIAL_REASON_HEADROOM_HELD
    assert decimals(denial.budget) == (2, 6, 2)
    assert from_money(denial.shortfall) == 2
    assert denial.headroom_time == first.expire_time
    assert "Try again later" in denial.message


def test_the_headroom_time_follows_an_extension(wire: Wire, organization: str) -> None:
    """A hold that was prolonged gives its money back later."""
    wire.cap(organization, "1")
    held = wire.hold(organization, "1")
    extended = wire.extend(held, ttl=Duration(seconds=3600)).reservation
    assert extended.expire_time.seconds > held.expire_time.seconds
    assert wire.deny(organization, "1").headroom_time == extended.expire_time


def test_the_headroom_time_counts_what_came_in_the_same_batch(wire: Wire, organization: str) -> None:
    """A caller who is denied while a hold is prolonged hears of the prolonged time, from within one transaction."""
    wire.cap(organization, "1")
    held = wire.hold(organization, "1")
    with beside() as pool:
        with wire.locked(organization):
            first = pool.submit(wire.reserve, organization, "0")
            wire.wait_for_lock()
            extended = pool.submit(wire.extend, held, ttl=Duration(seconds=7000))
            time.sleep(QUEUED_S)
            denied = pool.submit(wire.deny, organization, "1")
            time.sleep(QUEUED_S)
        assert first.result().HasField("reservation")
        assert denied.result().headroom_time == extended.result().reservation.expire_time


def test_a_hold_of_nothing_gives_nothing_back(wire: Wire, organization: str) -> None:
    """The headroom time is that of a hold with money in it."""
    wire.cap(organization, "1")
    wire.hold(organization, "0", ttl=Duration(seconds=60))
    held = wire.hold(organization, "1", ttl=Duration(seconds=120))
    assert wire.deny(organization, "1").headroom_time == held.expire_time


def test_frozen(wire: Wire, organization: str) -> None:
    """A frozen budget denies whatever it has, and lacks nothing."""
    wire.cap(organization, "10", campaign("c"), frozen=True)
    denial = wire.deny(organization, "1", campaign="c")
    assert denial.reason == pb.DENIAL_REASON_BUDGET_FROZEN
    assert denial.budget.scope == campaign("c")
    assert denial.budget.frozen
    assert from_money(denial.requested) == 1
    assert from_money(denial.shortfall) == 0
    assert not denial.HasField("headroom_time")
    assert "frozen" in denial.message
    wire.hold(organization, "1", campaign="other")


def test_unpriced(wire: Wire, organization: str) -> None:
    """A model without a price is denied by no budget: there is no amount that one could lack."""
    denial = wire.deny(organization, tokens=UNPRICED)
    assert denial.reason == pb.DENIAL_REASON_UNPRICED_MODEL
    assert not denial.HasField("budget")
    assert not denial.HasField("requested")
    assert not denial.HasField("shortfall")
    assert "'no-such-model'" in denial.message


def test_the_reasons_have_an_order(wire: Wire, organization: str) -> None:
    """UNPRICED_MODEL before BUDGET_FROZEN before OUT_OF_BUDGET before HEADROOM_HELD."""
    wire.cap(organization, "10")
    wire.hold(organization, "8")
    wire.cap(organization, "10", campaign("held"))
    wire.cap(organization, "1", agent("out"))
    wire.cap(organization, "9", department("frozen"), frozen=True)
    asked = {"amount": "3", "campaign": "held"}
    assert wire.deny(organization, **asked).reason == pb.DENIAL_REASON_HEADROOM_HELD
    asked["agent"] = "out"
    assert wire.deny(organization, **asked).reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    asked["department"] = "frozen"
    assert wire.deny(organization, **asked).reason == pb.DENIAL_REASON_BUDGET_FROZEN
    asked = {"campaign": "held", "agent": "out", "department": "frozen"}
    assert wire.deny(organization, tokens=UNPRICED, **asked).reason == pb.DENIAL_REASON_UNPRICED_MODEL


def test_the_one_that_lacks_most_is_named(wire: Wire, organization: str) -> None:
    """Of several budgets with the same reason the binding one is that which lacks most."""
    for window, cap in ((DAY, "3"), (MONTH, "1"), (TOTAL, "2")):
        wire.cap(organization, cap, campaign("c"), window=window)
    denial = wire.deny(organization, "4", campaign="c")
    assert (denial.budget.window, from_money(denial.shortfall)) == (MONTH, 3)


def test_denials_are_recorded_and_cost_nothing(wire: Wire, organization: str) -> None:
    """Each denial is a row that says what was asked for and what stood in the way; no money moves."""
    wire.cap(organization, "2", campaign("c"))
    held = wire.hold(organization, "2", campaign="c")
    wire.deny(organization, "3", campaign="c", reservation_id="one")
    wire.deny(organization, "1", campaign="c", reservation_id="two")
    wire.deny(organization, tokens=UNPRICED, reservation_id="three")
    wire.extend(held, "5")
    out, lacking, unpriced, more = wire.sql(DENIALS, organization)
    assert out == ("one", "c", "", "OUT_OF_BUDGET", "CAMPAIGN", "c", "MONTH", 3, 3, None)
    assert lacking[:9] == ("two", "c", "", "HEADROOM_HELD", "CAMPAIGN", "c", "MONTH", 1, 1)
    assert lacking[9].timestamp() == pytest.approx(held.expire_time.seconds, abs=1)
    assert unpriced == ("three", "", "no-such-model", "UNPRICED_MODEL", None, None, None, 0, 0, None)
    assert more[:8] == (held.reservation_id, "c", "", "OUT_OF_BUDGET", "CAMPAIGN", "c", "MONTH", 3)
    assert decimals(wire.budget(organization)) == (0, 2, 998)
    assert wire.executions(organization) == []


def test_a_cap_of_nothing_denies_all_but_nothing(wire: Wire, organization: str) -> None:
    """A cap of 0 counts as used up; only a call that asks for nothing passes."""
    wire.cap(organization, "0")
    assert wire.deny(organization, "0.000000001").reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    wire.hold(organization, "0")
    status = wire.budget(organization)
    assert (status.utilization_percent, status.tier) == (100, budget_pb2.BUDGET_TIER_EXCEEDED)


def test_the_last_nano_is_there_and_no_more(wire: Wire, organization: str) -> None:
    """A cap is reached exactly, and not passed by a nano."""
    wire.cap(organization, "1")
    wire.hold(organization, "0.999999999")
    assert from_money(wire.deny(organization, "0.000000002").shortfall) == Decimal("1e-9")
    wire.hold(organization, "0.000000001")
