"""What becomes of what an override pays for, when time goes by?"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import reservation_pb2 as pb

from .conftest import Clock
from .override_sums import EXCESSES, booked, standing
from .overriding import opened

MINUTE = Duration(seconds=60)


@pytest.mark.parametrize("swept", [True, False], ids=["swept", "found"])
@pytest.mark.parametrize(("policy", "cost"), [("RELEASE", 0), ("CHARGE", 5)])
def test_an_expired_hold(clock: Clock, organization: str, policy: str, cost: int, swept: bool) -> None:
    """Under RELEASE all comes back; under CHARGE the override has paid, also where it was ended before."""
    wire = clock.wire
    wire.open(organization, expiry_policy=policy)
    desk = opened(wire, organization, "10")
    override = desk.on("5")
    wire.hold(organization, "15", reservation_id="i", ttl=MINUTE)
    desk.off(override_id=override.override_id)
    clock.advance(timedelta(minutes=2))
    if swept:
        clock.swept()
    assert wire.hold(organization, "15", reservation_id="i", ttl=MINUTE).state == pb.RESERVATION_STATE_EXPIRED
    assert booked(desk) == (0, cost)
    assert standing(wire, organization) == (3 * cost, 0, cost)
    charged = [(entry.override_id, from_money(entry.override_amount)) for entry in wire.executions(organization)]
    assert charged == ([(override.override_id, 5)] if cost else [])


@pytest.mark.parametrize("swept", [True, False], ids=["swept", "found"])
@pytest.mark.parametrize(("cost", "still"), [("0", 0), ("9", 0), ("12", 2), ("15", 5), ("16", 6), ("18", 6)])
def test_a_late_commit_replaces_the_charge(clock: Clock, organization: str, cost: str, still: int, swept: bool) -> None:
    """The charge, its reversal and the real cost each have the override's part, and add up to what it has paid."""
    wire = clock.wire
    wire.open(organization, expiry_policy="CHARGE")
    desk = opened(wire, organization, "10")
    desk.on("6")
    held = wire.hold(organization, "15", ttl=MINUTE)
    clock.advance(timedelta(minutes=2))
    if swept:
        clock.swept()
    assert wire.commit(held, cost).late
    assert (standing(wire, organization), booked(desk)) == ((Decimal(cost), 0, still), (0, still))
    entries = {entry.kind: from_money(entry.override_amount) for entry in wire.executions(organization)}
    assert entries == {
        pb.EXECUTION_KIND_EXPIRY_CHARGE: 5,
        pb.EXECUTION_KIND_REVERSAL: -5,
        pb.EXECUTION_KIND_COMMIT: still,
    }
    assert wire.sql(EXCESSES, organization) == ([("LATE_COMMIT", 2)] if cost == "18" else [])


@pytest.mark.parametrize(("passed_s", "still"), [(119, 5), (120, 0)])
def test_a_late_commit_of_what_was_given_back(clock: Clock, organization: str, passed_s: int, still: int) -> None:
    """Under RELEASE nothing is booked any more; what is committed late is, if the override is in force by then."""
    wire = clock.wire
    desk = opened(wire, organization, "10")
    override = desk.on("5", ttl_s=120)
    held = wire.hold(organization, "11", ttl=MINUTE)
    clock.advance(timedelta(seconds=passed_s))
    assert wire.commit(held, "15").late
    assert (standing(wire, organization), booked(desk)) == ((15, 0, still), (0, still))
    (entry,) = wire.executions(organization)
    assert (entry.override_id, from_money(entry.override_amount)) == (override.override_id if still else "", still)
    assert wire.sql(EXCESSES, organization) == ([] if still else [("LATE_COMMIT", 5)])


def test_it_pays_until_its_time_is_over(clock: Clock, organization: str) -> None:
    """A microsecond before its end it pays, and then not; what it has paid for is settled all the same."""
    wire = clock.wire
    desk = opened(wire, organization, "0")
    override = desk.on("5", ttl_s=60)
    clock.advance(timedelta(seconds=60, microseconds=-1))
    held, other = wire.hold(organization, "2"), wire.hold(organization, "2")
    clock.advance(timedelta(microseconds=1))
    wire.deny(organization, "1")
    wire.deny(organization, "1", override_id=override.override_id)
    assert wire.extend(held, "3").HasField("denial")
    wire.commit(held, "1")
    wire.commit(other, "3")
    assert booked(desk) == (0, 3)
    assert wire.sql(EXCESSES, organization) == [("OVERAGE", 1)]
