"""Pythonic values become the right messages, bad ones an error."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money

from gatekeeper_client import Scope, TokenEstimate, TokenUsage
from gatekeeper_client.requests import (
    commit_request,
    list_alerts_request,
    list_overrides_request,
    request_override_request,
    reserve_request,
    set_override_request,
    wire,
)
from gatekeeper_client.v1.alert_pb2 import ALERT_KIND_TEST, DELIVERY_STATE_DEAD
from gatekeeper_client.v1.budget_pb2 import (
    PRIORITY_BATCH,
    PRIORITY_CRITICAL,
    PRIORITY_NORMAL,
    SCOPE_KIND_CAMPAIGN,
    PriorityFloor,
)
from gatekeeper_client.v1.gatekeeper_service_pb2 import CommitRequest, SetCapRequest, SetOverrideRequest
from gatekeeper_client.v1.override_pb2 import OVERRIDE_STATE_PENDING
from gatekeeper_client.v1.report_service_pb2 import ListAlertsRequest, ListOverridesRequest
from gatekeeper_client.v1.reservation_pb2 import OUTCOME_FAILED, Metrics

SPRING = Scope(kind=SCOPE_KIND_CAMPAIGN, id="spring")


def test_a_reservation_has_an_id_of_its_own_unless_one_is_given() -> None:
    """Two requests never share an id by accident, and a given one is kept."""
    first, second = (reserve_request("acme", {"amount": 1}).reservation_id for _ in range(2))
    assert UUID(first).version == UUID(second).version == 7
    assert first != second
    assert reserve_request("acme", {"amount": 1, "reservation_id": "job-1"}).reservation_id == "job-1"
    assert reserve_request("acme", {"amount": 1, "reservation_id": ""}).reservation_id


def test_either_money_or_tokens_are_asked_for() -> None:
    """Neither and both are mistakes of the caller."""
    tokens = TokenEstimate(model="m", input_tokens=9, max_output_tokens=3)
    assert reserve_request("acme", {"tokens": tokens}).tokens == tokens
    for wrong in ({}, {"amount": 1, "tokens": tokens}):
        with pytest.raises(TypeError, match="either amount or tokens"):
            reserve_request("acme", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="either amount or usage"):
        commit_request("acme", "job-1", {"outcome": "FAILED"})


def test_a_commit_gathers_its_metrics() -> None:
    """Scores, conversions, revenue and latency sit in one message; the rest does not move."""
    request = commit_request(
        "acme",
        "job-1",
        {
            "usage": TokenUsage(output_tokens=5),
            "outcome": "FAILED",
            "quality_score": 0,
            "conversions": 2,
            "revenue": "1.5",
            "latency": timedelta(milliseconds=1500),
            "labels": {"team": "red"},
            "timeout_s": 3,
        },
    )
    assert request == CommitRequest(
        organization="acme",
        reservation_id="job-1",
        usage=TokenUsage(output_tokens=5),
        outcome=OUTCOME_FAILED,
        metrics=Metrics(
            quality_score=0,
            conversions=2,
            revenue=Money(units=1, nanos=500_000_000),
            latency=Duration(seconds=1, nanos=500_000_000),
        ),
        labels={"team": "red"},
    )


def test_a_commit_without_metrics_sends_none() -> None:
    """Absent is not zero."""
    assert not commit_request("acme", "job-1", {"amount": 1}).HasField("metrics")


@pytest.mark.parametrize("scope", [SPRING, ("CAMPAIGN", "spring")])
def test_a_scope_is_a_message_or_a_pair(scope: object) -> None:
    """Both name the same thing, alone and in a list."""
    assert wire({"scope": scope, "scopes": [scope]}) == {"scope": SPRING, "scopes": [SPRING]}


def test_seconds_and_timedelta_say_the_same() -> None:
    """A ttl of 90 is one of a minute and a half."""
    assert wire({"ttl": 90}) == wire({"ttl": timedelta(minutes=1.5)}) == {"ttl": Duration(seconds=90)}


def test_unfrozen_is_said_and_unset_is_not() -> None:
    """`frozen=False` thaws a budget; leaving it out changes nothing."""
    assert SetCapRequest(**wire({"frozen": False})).HasField("frozen")
    assert not SetCapRequest(**wire({"cap": 5})).HasField("frozen")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"amount": 0.1}, TypeError),
        ({"amount": "1", "outcome": "SPLENDID"}, ValueError),
        ({"amount": "1", "revenue": 0.5}, TypeError),
        ({"amount": "1", "latency": "soon"}, TypeError),
        ({"amount": "1", "colour": "red"}, ValueError),
    ],
)
def test_a_bad_value_is_refused_before_anything_is_sent(fields: dict[str, object], error: type[Exception]) -> None:
    """The error is Python's, not the server's."""
    with pytest.raises(error):
        commit_request("acme", "job-1", fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("priority", ["BATCH", PRIORITY_BATCH])
def test_a_priority_is_a_name_or_the_enum(priority: object) -> None:
    """Both go with the call, beside the override that may pay for it."""
    request = reserve_request("acme", {"amount": 1, "priority": priority, "override_id": "o1"})  # type: ignore[typeddict-item]
    assert (request.priority, request.override_id) == (PRIORITY_BATCH, "o1")
    assert reserve_request("acme", {"amount": 1, "priority": "CRITICAL"}).priority == PRIORITY_CRITICAL


def test_floors_are_told_by_priority() -> None:
    """Only those that are named go with the request."""
    floors = SetCapRequest(**wire({"floors": {"BATCH": 90, "NORMAL": 97}})).floors
    assert list(floors) == [
        PriorityFloor(priority=PRIORITY_BATCH, percent=90),
        PriorityFloor(priority=PRIORITY_NORMAL, percent=97),
    ]
    with pytest.raises(ValueError, match="SPLENDID"):
        wire({"floors": {"SPLENDID": 90}})


def test_an_override_is_for_one_thing() -> None:
    """A scope, a reservation or an override is named, not several: the message would keep the last."""
    request = set_override_request(
        "acme", {"scope": ("CAMPAIGN", "spring"), "enabled": True, "max_amount": "50", "ttl": 60, "reason": "launch"}
    )
    assert request == SetOverrideRequest(
        organization="acme",
        scope=SPRING,
        enabled=True,
        max_amount=Money(units=50),
        ttl=Duration(seconds=60),
        reason="launch",
        request_id=request.request_id,
    )
    assert request.request_id
    assert request_override_request("acme", {"reservation": "job-1"}).reservation == "job-1"
    with pytest.raises(TypeError, match="one of scope, reservation, override_id"):
        set_override_request("acme", {"reservation": "job-1", "override_id": "o1"})
    with pytest.raises(TypeError, match="one of scope, reservation"):
        request_override_request("acme", {"reservation": "job-1", "scope": SPRING})


def test_lists_take_their_own_states_and_kinds() -> None:
    """PENDING is one thing of an override, another of a delivery."""
    assert list_overrides_request("acme", {"state": "PENDING", "timeout_s": 1}) == ListOverridesRequest(
        organization="acme", state=OVERRIDE_STATE_PENDING
    )
    assert list_alerts_request("", {"kind": "TEST", "delivery_state": "DEAD"}) == ListAlertsRequest(
        kind=ALERT_KIND_TEST, delivery_state=DELIVERY_STATE_DEAD
    )
    with pytest.raises(ValueError, match="OVERRIDE_STATE_HELD"):
        list_overrides_request("acme", {"state": "HELD"})  # type: ignore[typeddict-item]
