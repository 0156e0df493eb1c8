"""What does a Reserve promise about its id, its answer and its time to live?"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import budget_pb2, reservation_pb2
from gatekeeper_client.v1.gatekeeper_service_pb2 import ReserveRequest, ReserveResponse

from .refusals import refusal
from .wire import ORGANIZATION, TIMEOUT_S, Wire, beside, campaign, decimals

FIELDS = {"department": "d", "campaign": "c", "agent": "a", "agent_type": "seo", "run": "r", "task": "t"}


def lifetime(held: reservation_pb2.Reservation) -> timedelta:
    """Return how long a hold lasts."""
    return held.expire_time.ToDatetime() - held.create_time.ToDatetime()


def test_the_hold_says_all_that_the_request_said(wire: Wire, organization: str) -> None:
    """A reservation repeats id, attribution, amount and labels of its request, and is HELD."""
    reservation_id = str(uuid.uuid4())
    labels = {"team": "ärger", "empty": ""}
    held = wire.hold(organization, "1.5", reservation_id=reservation_id, labels=labels, **FIELDS)
    assert held.reservation_id == reservation_id
    assert held.organization == organization
    assert {name: getattr(held, name) for name in FIELDS} == FIELDS
    assert held.amount == to_money("1.5", "USD")
    assert dict(held.labels) == labels
    assert held.state == reservation_pb2.RESERVATION_STATE_HELD
    assert not held.HasField("end_time")
    assert not held.would_deny
    assert held.model == held.price_version == ""
    day = held.create_time.ToDatetime().date().isoformat()
    assert (held.day, held.month) == (day, day[:7])


def test_a_nano_is_held_to_the_nano(wire: Wire, organization: str) -> None:
    """Nine digits behind the point survive, beside the largest amount there is."""
    wire.cap(organization, "999999999999.999999999")
    wire.hold(organization, "0.000000001")
    wire.hold(organization, "999999999999.999999997")
    status = wire.budget(organization)
    assert from_money(status.reserved) == from_money(to_money("999999999999.999999998"))
    assert from_money(status.available) == from_money(to_money("0.000000001"))


def test_nothing_may_be_asked(wire: Wire, organization: str) -> None:
    """A reservation of 0 is admitted, also by a budget that is full."""
    wire.cap(organization, "1")
    wire.hold(organization, "1")
    assert from_money(wire.hold(organization, "0").amount) == 0


def test_the_same_again_is_the_same_answer(wire: Wire, organization: str) -> None:
    """A repeated Reserve returns the first reservation, and holds nothing more."""
    first = wire.hold(organization, "2", reservation_id="same", labels={"b": "2", "a": "1"})
    again = wire.hold(organization, "2", reservation_id="same", labels={"a": "1", "b": "2"})
    assert again == first
    assert decimals(wire.budget(organization))[1] == 2


def test_the_same_at_once_is_one_hold(wire: Wire, organization: str) -> None:
    """Sixteen callers with one id and one content get one reservation."""
    with beside() as pool:
        answers = [pool.submit(wire.hold, organization, "2", reservation_id="same") for _ in range(16)]
    first = answers[0].result()
    assert all(answer.result() == first for answer in answers)
    assert decimals(wire.budget(organization))[1] == 2


def test_the_same_after_its_end_holds_nothing(wire: Wire, organization: str) -> None:
    """A repeated Reserve shows how the reservation ended, and does not open it again."""
    held = wire.hold(organization, "2", reservation_id="same")
    wire.release(held)
    again = wire.hold(organization, "2", reservation_id="same")
    assert again.state == reservation_pb2.RESERVATION_STATE_RELEASED
    assert decimals(wire.budget(organization))[1] == 0


@pytest.mark.parametrize(
    "other",
    [
        {"amount": "3"},
        {"campaign": "other"},
        {"task": "other"},
        {"labels": {"a": "b"}},
        {"ttl": Duration(seconds=60)},
        {"validate_only": True},
        {"amount": None, "tokens": reservation_pb2.TokenEstimate(input_tokens=50_000)},
    ],
    ids=lambda other: next(reversed(other)),
)
def test_the_same_id_for_another_content_is_refused(wire: Wire, organization: str, other: dict[str, Any]) -> None:
    """ALREADY_EXISTS, whatever differs; the first reservation stays as it was."""
    first = wire.hold(organization, "2", reservation_id="same")
    refused = refusal(wire.reserve, organization, **{"amount": "2", "reservation_id": "same"} | other)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "RESERVATION_MISMATCH")
    assert refused.metadata == {"reservation_id": "same"}
    assert refused.retry_delay_s is None
    assert wire.hold(organization, "2", reservation_id="same") == first


def test_an_id_belongs_to_its_organization(wire: Wire, organization: str) -> None:
    """Two organizations may use the same id, each for itself."""
    wire.hold(organization, "1", reservation_id="same")
    assert wire.hold(f"{organization}2", "2", reservation_id="same").amount.units == 2


def test_a_denied_id_is_decided_anew(wire: Wire, organization: str) -> None:
    """A denial keeps no id: the same may ask again, with other content too."""
    wire.cap(organization, "1")
    wire.deny(organization, "2", reservation_id="same")
    wire.deny(organization, "3", reservation_id="same")
    assert wire.hold(organization, "1", reservation_id="same").amount.units == 1


def test_the_server_makes_ids_that_grow(wire: Wire, organization: str) -> None:
    """Without an id the server makes a UUID of version 7, another one for each call."""
    ids = [wire.hold(organization).reservation_id for _ in range(3)]
    assert len(set(ids)) == 3
    assert {uuid.UUID(made).version for made in ids} == {7}
    assert ids == sorted(ids)


def test_a_hold_lasts_ten_minutes(wire: Wire, organization: str) -> None:
    """Without a ttl a hold expires ten minutes after it was made."""
    assert lifetime(wire.hold(organization)) == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [
        (Duration(seconds=86_400), timedelta(days=1)),
        (Duration(seconds=90, nanos=500_000_000), timedelta(seconds=90.5)),
    ],
    ids=["longest", "fraction"],
)
def test_a_hold_lasts_as_long_as_asked(wire: Wire, organization: str, ttl: Duration, expected: timedelta) -> None:
    """The ttl is kept to the microsecond, up to 24 hours."""
    assert lifetime(wire.hold(organization, ttl=ttl)) == expected


@pytest.mark.parametrize("nanos", [1, 999, 1000])
def test_the_shortest_hold_is_a_microsecond(wire: Wire, organization: str, nanos: int) -> None:
    """What is shorter is rounded up to it: a hold never ends before it begins."""
    assert lifetime(wire.hold(organization, ttl=Duration(nanos=nanos))) == timedelta(microseconds=1)


def test_the_answer_shows_every_budget_that_was_asked(wire: Wire, organization: str) -> None:
    """The budgets come as they stand after the verdict, the organization's first, and no others."""
    wire.cap(organization, "10", campaign("c"), window=budget_pb2.BUDGET_WINDOW_DAY)
    wire.cap(organization, "10", campaign("other"))
    answer = wire.reserve(organization, "4", campaign="c")
    assert [(budget.scope, budget.window) for budget in answer.budgets] == [
        (ORGANIZATION, budget_pb2.BUDGET_WINDOW_MONTH),
        (campaign("c"), budget_pb2.BUDGET_WINDOW_DAY),
    ]
    assert [from_money(budget.reserved) for budget in answer.budgets] == [4, 4]


def test_the_currency_may_be_said(wire: Wire, organization: str) -> None:
    """The organization's own currency is accepted, another one is FAILED_PRECONDITION and opens nothing."""
    before = wire.counts()
    refused = refusal(_reserve_in, wire, organization, "EUR")
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_MISMATCH")
    assert refused.metadata == {"organization": organization, "currency": "USD", "given": "EUR"}
    assert wire.counts() == before
    assert _reserve_in(wire, organization, "USD").reservation.amount == to_money(1, "USD")


def test_an_organization_keeps_its_books_in_its_currency(wire: Wire, organization: str) -> None:
    """An organization in yen has no use for dollars, and answers in yen."""
    wire.cap(organization, "1000")
    wire.sql("UPDATE organizations SET currency = 'JPY' WHERE organization = %s", organization)
    assert wire.hold(organization, "5").amount == to_money(5, "JPY")
    assert refusal(_reserve_in, wire, organization, "USD").reason == "CURRENCY_MISMATCH"


def _reserve_in(wire: Wire, organization: str, currency: str) -> ReserveResponse:
    request = ReserveRequest(organization=organization, amount=to_money(1, currency))
    return wire.gatekeeper.Reserve(request, timeout=TIMEOUT_S)
