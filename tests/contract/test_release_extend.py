"""What do Release and Extend do to a hold?"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import grpc
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import reservation_pb2 as pb
from gatekeeper_client.v1.gatekeeper_service_pb2 import ExtendRequest, ReleaseRequest

from .refusals import refusal
from .wire import ORGANIZATION, TIMEOUT_S, Wire, beside, campaign, decimals


def test_a_release_gives_all_back(wire: Wire, organization: str) -> None:
    """The whole hold is free at once in every budget, and nothing is spent or logged."""
    wire.cap(organization, "5")
    wire.cap(organization, "5", campaign("c"))
    held = wire.hold(organization, "5", campaign="c")
    answer = wire.release(held)
    assert answer.reservation.state == pb.RESERVATION_STATE_RELEASED
    assert answer.reservation.HasField("end_time")
    assert answer.reservation.amount == held.amount
    assert [budget.scope for budget in answer.budgets] == [ORGANIZATION, campaign("c")]
    assert {decimals(budget) for budget in answer.budgets} == {(0, 0, 5)}
    assert wire.executions(organization) == []
    wire.hold(organization, "5", campaign="c")


def test_a_repeated_release_is_the_same_answer(wire: Wire, organization: str) -> None:
    """Releasing twice frees once."""
    wire.hold(organization, "1")
    held = wire.hold(organization, "2")
    with beside() as pool:
        answers = list(pool.map(lambda _: wire.release(held), range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert decimals(wire.budget(organization))[:2] == (0, 1)


def test_a_release_after_a_commit_is_refused(wire: Wire, organization: str) -> None:
    """FAILED_PRECONDITION, after a late commit too; the cost stands."""
    held, released = wire.hold(organization, "2"), wire.hold(organization, "2")
    wire.commit(held, "1")
    wire.release(released)
    wire.commit(released, "1")
    for reservation in (held, released):
        refused = refusal(wire.release, reservation)
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_COMMITTED")
        assert refused.metadata["reservation_id"] == reservation.reservation_id
    assert decimals(wire.budget(organization))[:2] == (2, 0)


def test_release_and_extend_find_the_organization(wire: Wire, organization: str) -> None:
    """Neither needs the organization's name."""
    held = wire.hold(organization, "2")
    extended = wire.gatekeeper.Extend(
        ExtendRequest(reservation_id=held.reservation_id, amount=to_money(3)), timeout=TIMEOUT_S
    )
    assert extended.reservation.organization == organization
    wire.gatekeeper.Release(ReleaseRequest(reservation_id=held.reservation_id), timeout=TIMEOUT_S)
    assert decimals(wire.budget(organization))[:2] == (0, 0)


def test_an_extension_counts_from_now(wire: Wire, organization: str) -> None:
    """The ttl of an Extend begins with it; the rest of the hold stays as it was."""
    held = wire.hold(organization, "2", ttl=Duration(seconds=60))
    extended = wire.extend(held, ttl=Duration(seconds=3600)).reservation
    lasts = extended.expire_time.ToDatetime() - held.create_time.ToDatetime()
    assert timedelta(hours=1) < lasts < timedelta(hours=1, seconds=30)
    extended.expire_time.CopyFrom(held.expire_time)
    assert extended == held
    assert decimals(wire.budget(organization))[1] == 2


def test_an_extension_never_shortens(wire: Wire, organization: str) -> None:
    """A ttl that ends before the hold does changes nothing, and neither does an Extend without any field."""
    held = wire.hold(organization, "2", ttl=Duration(seconds=3600))
    assert wire.extend(held, ttl=Duration(seconds=60)).reservation == held
    assert wire.extend(held).reservation == held


def test_an_extension_may_raise_the_amount(wire: Wire, organization: str) -> None:
    """The amount is that of the whole hold; saying it again raises nothing, and the ttl may stay."""
    wire.cap(organization, "10")
    held = wire.hold(organization, "2")
    for _ in range(2):
        answer = wire.extend(held, "5.5")
        assert from_money(answer.reservation.amount) == Decimal("5.5")
        assert answer.reservation.expire_time == held.expire_time
        assert decimals(answer.budgets[0]) == (0, Decimal("5.5"), Decimal("4.5"))
    committed = wire.commit(held, "5")
    assert from_money(committed.execution.reserved_amount) == Decimal("5.5")


def test_raising_goes_by_the_rules_of_reserve(wire: Wire, organization: str) -> None:
    """Without room for the rest the verdict is a denial, and the hold stays as it was, its time too."""
    wire.cap(organization, "10")
    wire.cap(organization, "4", campaign("c"))
    held = wire.hold(organization, "2", campaign="c")
    denial = wire.extend(held, "4.5", ttl=Duration(seconds=7200)).denial
    assert denial.reason == pb.DENIAL_REASON_HEADROOM_HELD
    assert denial.budget.scope == campaign("c")
    assert from_money(denial.shortfall) == Decimal("0.5")
    assert denial.headroom_time == held.expire_time
    assert decimals(wire.budget(organization))[1] == 2
    assert wire.extend(held).reservation == held
    assert from_money(wire.extend(held, "4").reservation.amount) == 4


def test_lowering_is_refused(wire: Wire, organization: str) -> None:
    """Less than is held is FAILED_PRECONDITION."""
    held = wire.hold(organization, "2")
    refused = refusal(wire.extend, held, "1.999999999")
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AMOUNT_BELOW_HELD")
    assert refused.metadata == {"reservation_id": held.reservation_id, "held": "2.00 USD"}


def test_an_extension_in_another_currency_is_refused(wire: Wire, organization: str) -> None:
    """FAILED_PRECONDITION, like everywhere."""
    held = wire.hold(organization, "2")
    request = ExtendRequest(reservation_id=held.reservation_id, organization=organization, amount=to_money(3, "EUR"))
    assert refusal(wire.gatekeeper.Extend, request, timeout=TIMEOUT_S).reason == "CURRENCY_MISMATCH"


def test_what_has_ended_is_not_extended(wire: Wire, organization: str) -> None:
    """FAILED_PRECONDITION after a commit and after a release."""
    committed, released = wire.hold(organization), wire.hold(organization)
    wire.commit(committed, "1")
    wire.release(released)
    for held, reason in ((committed, "ALREADY_COMMITTED"), (released, "ALREADY_RELEASED")):
        refused = refusal(wire.extend, held, ttl=Duration(seconds=60))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, reason)
        assert refused.metadata["reservation_id"] == held.reservation_id


def test_a_retry_of_reserve_sees_the_extension(wire: Wire, organization: str) -> None:
    """A repeated Reserve returns the reservation as it is now."""
    held = wire.hold(organization, "2", reservation_id="same")
    extended = wire.extend(held, "3").reservation
    assert wire.hold(organization, "2", reservation_id="same") == extended
