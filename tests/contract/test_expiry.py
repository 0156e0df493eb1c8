"""What becomes of a hold that nobody ends?"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import reservation_pb2 as pb

from .conftest import Clock
from .refusals import refusal
from .wire import Wire, campaign, decimals, until

MINUTE = Duration(seconds=60)


def test_the_money_comes_back_within_two_seconds(wire: Wire, organization: str) -> None:
    """By the real clock, and without any call that asks for it."""
    wire.hold(organization, "2", ttl=Duration(nanos=200_000_000))
    began = time.monotonic()
    until(lambda: decimals(wire.budget(organization))[1] == 0)
    assert time.monotonic() - began < 0.2 + 2 + 1  # the last one for a machine that is busy


def test_a_hold_ends_at_its_time(clock: Clock, organization: str) -> None:
    """A microsecond before its expire_time it is held, then it is EXPIRED and free, and nothing is charged."""
    wire = clock.wire
    wire.open(organization)
    held = wire.hold(organization, "2", ttl=MINUTE)
    clock.advance(timedelta(seconds=60, microseconds=-1))
    assert wire.extend(held).HasField("reservation")
    clock.advance(timedelta(microseconds=1))
    clock.swept()
    ended = wire.reservation(held)
    assert ended.state == pb.RESERVATION_STATE_EXPIRED
    assert ended.end_time == held.expire_time
    assert decimals(wire.budget(organization)) == (0, 0, 100)
    assert wire.executions(organization) == []


def test_a_prolonged_hold_lives_on(clock: Clock, organization: str) -> None:
    """After an Extend only the new time counts."""
    wire = clock.wire
    held = wire.hold(organization, "2", ttl=MINUTE)
    clock.advance(timedelta(seconds=30))
    wire.extend(held, ttl=MINUTE)
    clock.advance(timedelta(seconds=59))
    assert not wire.commit(held, "1").late


def test_the_money_can_be_had_again(clock: Clock, organization: str) -> None:
    """A caller who was told the headroom time finds room at it."""
    wire = clock.wire
    wire.cap(organization, "2", campaign("c"))
    wire.hold(organization, "2", ttl=MINUTE, campaign="c")
    headroom_time = wire.deny(organization, "1", campaign="c").headroom_time
    wire.sql("UPDATE fake.clock SET now = %s", headroom_time.ToDatetime(UTC))
    clock.swept()
    wire.hold(organization, "1", campaign="c")


@pytest.mark.parametrize("swept", [True, False], ids=["swept", "found"])
def test_a_commit_after_it_is_late(clock: Clock, organization: str, swept: bool) -> None:
    """The real cost is recorded, whether the sweep or the commit came first; again it is the same answer."""
    wire = clock.wire
    held = wire.hold(organization, "2", ttl=MINUTE)
    clock.advance(timedelta(minutes=5))
    if swept:
        clock.swept()
    answer = wire.commit(held, "3")
    assert answer.late
    assert answer.reservation.state == pb.RESERVATION_STATE_EXPIRED
    assert from_money(answer.overage_amount) == 1
    assert decimals(wire.budget(organization))[:2] == (3, 0)
    assert [(entry.kind, entry.late) for entry in wire.executions(organization)] == [(pb.EXECUTION_KIND_COMMIT, True)]
    assert wire.commit(held, "3") == answer
    assert refusal(wire.commit, held, "2").reason == "ALREADY_COMMITTED"


@pytest.mark.parametrize("swept", [True, False], ids=["swept", "found"])
def test_nothing_else_is_possible_after_it(clock: Clock, organization: str, swept: bool) -> None:
    """Release and Extend are FAILED_PRECONDITION, and say when it expired."""
    wire = clock.wire
    wire.open(organization)
    held = wire.hold(organization, "2", ttl=MINUTE)
    clock.advance(timedelta(minutes=1))
    if swept:
        clock.swept()
    for call in (wire.release, lambda held: wire.extend(held, ttl=MINUTE)):
        refused = refusal(call, held)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RESERVATION_EXPIRED")
        assert refused.metadata["reservation_id"] == held.reservation_id
        expired = datetime.fromisoformat(refused.metadata["expire_time"])
        assert expired == held.expire_time.ToDatetime(UTC)
    clock.swept()
    assert decimals(wire.budget(organization)) == (0, 0, 100)


def test_a_vanished_agent_may_be_charged(clock: Clock, organization: str) -> None:
    """Under CHARGE the whole hold is spent, by an entry of its own kind that can be listed for review."""
    wire = clock.wire
    wire.open(organization, expiry_policy="CHARGE")
    held = wire.hold(organization, "2.5", ttl=MINUTE, campaign="c", labels={"a": "b"})
    wire.hold(organization, "0", ttl=MINUTE)
    wire.commit(wire.hold(organization, "1"), "1")
    clock.advance(timedelta(minutes=2))
    clock.swept()
    assert decimals(wire.budget(organization)) == (Decimal("3.5"), 0, Decimal("96.5"))
    assert wire.reservation(held).state == pb.RESERVATION_STATE_EXPIRED
    (entry,) = wire.executions(organization, kind=pb.EXECUTION_KIND_EXPIRY_CHARGE)
    assert from_money(entry.cost) == Decimal("2.5")
    assert (entry.outcome, entry.campaign, dict(entry.labels)) == (pb.OUTCOME_UNKNOWN, "c", {"a": "b"})
    assert (entry.reservation_id, entry.late) == (held.reservation_id, False)
    assert wire.executions(organization, outcome=pb.OUTCOME_UNKNOWN) == [entry]


@pytest.mark.parametrize("swept", [True, False], ids=["swept", "found"])
@pytest.mark.parametrize("cost", ["0", "1", "2.5", "4"])
def test_a_late_commit_takes_the_charge_back(clock: Clock, organization: str, cost: str, swept: bool) -> None:
    """The charge, its reversal and the real cost are all in the log, and add up to the real cost."""
    wire = clock.wire
    wire.open(organization, expiry_policy="CHARGE")
    held = wire.hold(organization, "2.5", ttl=MINUTE)
    clock.advance(timedelta(minutes=2))
    if swept:
        clock.swept()
    answer = wire.commit(held, cost)
    assert answer.late
    assert from_money(answer.overage_amount) == max(Decimal(0), Decimal(cost) - Decimal("2.5"))
    assert decimals(wire.budget(organization))[:2] == (Decimal(cost), 0)
    entries = {entry.kind: from_money(entry.cost) for entry in wire.executions(organization)}
    assert entries == {
        pb.EXECUTION_KIND_EXPIRY_CHARGE: Decimal("2.5"),
        pb.EXECUTION_KIND_REVERSAL: Decimal("-2.5"),
        pb.EXECUTION_KIND_COMMIT: Decimal(cost),
    }
    assert wire.commit(held, cost) == answer


def test_the_policy_that_counts_is_that_of_the_end(clock: Clock, organization: str) -> None:
    """A hold goes by the policy that is in force when it expires."""
    wire = clock.wire
    wire.open(organization)
    wire.hold(organization, "2", ttl=MINUTE)
    wire.sql("UPDATE organizations SET expiry_policy = 'CHARGE' WHERE organization = %s", organization)
    clock.advance(timedelta(minutes=2))
    clock.swept()
    assert decimals(wire.budget(organization))[:2] == (2, 0)


def test_many_expire_at_once(clock: Clock, organization: str) -> None:
    """A hundred holds that end at one instant are all swept, each in its own budgets."""
    wire = clock.wire
    wire.open(organization)
    for number in range(4):
        wire.cap(organization, "100", campaign(f"c{number}"))
    for number in range(100):
        wire.hold(organization, "0.25", ttl=MINUTE, campaign=f"c{number % 4}")
    clock.advance(timedelta(minutes=2))
    clock.swept()
    assert {decimals(budget) for budget in wire.status(organization).budgets} == {(0, 0, 100)}
