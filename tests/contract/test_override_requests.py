"""What becomes of an override that somebody asks for? It waits for an admin, who approves, lowers or declines it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest

from gatekeeper.domain.access import Role
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import override_pb2

from .overriding import (
    ACTIVE,
    DAY_S,
    DECLINED,
    ENDED,
    EXPIRED,
    HOUR_S,
    PENDING,
    Overriding,
    bearer,
    opened,
    told,
    trail,
)
from .refusals import refusal
from .secured import Secured
from .wire import Wire, agent, campaign

Code = grpc.StatusCode


def lasts_s(override: override_pb2.Override) -> float:
    """Return how long an override stands from its making on."""
    return (override.expire_time.ToDatetime() - override.create_time.ToDatetime()).total_seconds()


def expire(wire: Wire, organization: str) -> None:
    """Let the time of all overrides be over."""
    wire.sql("UPDATE overrides SET expires_at = now() WHERE organization = %s", organization)


def test_a_request_waits_for_an_admin(wire: Wire, organization: str) -> None:
    """It pays for nothing, is listed, written down, and told once."""
    desk = opened(wire, organization)
    asked = desk.request("5", scope=campaign("c"), reason="the launch")
    assert (asked.state, asked.scope, asked.requested_by, asked.granted_by) == (PENDING, campaign("c"), "anyone", "")
    assert from_money(asked.max_amount) == 5
    wire.deny(organization, "3", campaign="c")
    assert desk.listed(state=PENDING) == [asked]
    assert desk.in_force() == []
    assert trail(wire, organization) == [("OVERRIDE_REQUESTED", "anyone", "the launch", "PENDING")]
    ((subject, message),) = told(wire, organization)
    assert subject == asked.override_id
    assert "5.00 USD for campaign 'c'" in message
    assert "the launch" in message


@pytest.mark.parametrize("ttl_s", [None, 60, 31 * DAY_S])
def test_a_request_waits_for_a_day(wire: Wire, organization: str, ttl_s: int | None) -> None:
    """However long what it asks for would last; then it is over."""
    desk = opened(wire, organization)
    asked = desk.request(ttl_s=ttl_s)
    assert lasts_s(asked) == DAY_S
    expire(wire, organization)
    assert [each.state for each in desk.listed()] == [EXPIRED]
    refused = refusal(desk.approve, asked.override_id)
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "OVERRIDE_OVER")
    assert refused.metadata == {"override_id": asked.override_id, "state": "expired"}


@pytest.mark.parametrize("ttl_s", [None, 60])
def test_an_approval_turns_it_on(wire: Wire, organization: str, ttl_s: int | None) -> None:
    """From now on, for as long as was asked for: calls go through; approving once more changes nothing."""
    desk = opened(wire, organization)
    asked = desk.request("5", ttl_s=ttl_s)
    wire.sql("UPDATE overrides SET created_at = created_at - interval '1 hour' WHERE organization = %s", organization)
    approved = desk.approve(asked.override_id, reason="go")
    assert (approved.state, approved.requested_by, approved.granted_by) == (ACTIVE, "anyone", "anyone")
    assert lasts_s(approved) == pytest.approx(HOUR_S + (ttl_s or HOUR_S), abs=60)
    assert desk.approve(asked.override_id, "1", ttl_s=7) == approved
    wire.hold(organization, "3")
    assert [(action, reason) for action, _, reason, _ in trail(wire, organization)][:2] == [
        ("OVERRIDE_REQUESTED", asked.reason),
        ("OVERRIDE_GRANTED", "go"),
    ]
    assert len(told(wire, organization)) == 1


def test_an_admin_grants_less(wire: Wire, organization: str) -> None:
    """A smaller amount and another ttl, but never more than was asked for."""
    desk = opened(wire, organization)
    asked = desk.request("5")
    refused = refusal(desk.approve, asked.override_id, "5.000000001")
    assert list(refused.violations) == ["max_amount"]
    approved = desk.approve(asked.override_id, "2", ttl_s=7 * DAY_S)
    assert from_money(approved.max_amount) == 2
    assert lasts_s(approved) == pytest.approx(7 * DAY_S, abs=60)
    wire.deny(organization, "3.01")
    wire.hold(organization, "3")


def test_an_admin_declines(wire: Wire, organization: str) -> None:
    """It is over then: nobody can approve it any more, and declining it again is answered the same."""
    desk = opened(wire, organization)
    asked = desk.request()
    answer = desk.off(override_id=asked.override_id, reason="no money")
    assert (answer.override.state, answer.override.ended_by) == (DECLINED, "anyone")
    assert desk.off(override_id=asked.override_id) == answer
    refused = refusal(desk.approve, asked.override_id)
    assert (refused.reason, refused.metadata["state"]) == ("OVERRIDE_OVER", "declined")
    assert trail(wire, organization)[1:] == [("OVERRIDE_DECLINED", "anyone", "no money", "DECLINED")]


def test_what_was_ended_stays_ended(wire: Wire, organization: str) -> None:
    """Nobody approves what was turned off; what has expired is answered as it is when it is turned off."""
    desk = opened(wire, organization)
    ended, expired = desk.on(), desk.on()
    desk.off(override_id=ended.override_id)
    refused = refusal(desk.approve, ended.override_id)
    assert (refused.reason, refused.metadata["state"]) == ("OVERRIDE_OVER", "ended")
    expire(wire, organization)
    answer = desk.off(override_id=expired.override_id)
    assert (answer.override.state, list(answer.ended)) == (EXPIRED, [])
    assert {each.state for each in desk.listed()} == {ENDED, EXPIRED}


def test_the_same_request_again(wire: Wire, organization: str) -> None:
    """While it waits, whoever asks for the very same is shown it; anything else is another request."""
    desk = opened(wire, organization)
    asked = desk.request("5", reservation="i")
    assert desk.request("5", reservation="i") == asked
    others = [desk.request("6", reservation="i"), desk.request("5", reservation="j"), desk.request("5")]
    desk.off(override_id=asked.override_id)
    again = desk.request("5", reservation="i")
    assert len({each.override_id for each in (asked, again, *others)}) == 5
    assert len(told(wire, organization)) == 5


def test_callers_share_no_request(secured: Secured, organization: str) -> None:
    """Two callers that ask for the same make two requests, each in its name."""
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1)), secured.operator)
    asked = [bearer(secured, organization, role).request() for role in (Role.AGENT, Role.AGENT, Role.ADMIN)]
    assert len({each.override_id for each in asked}) == len({each.requested_by for each in asked}) == 3


SCOPES: dict[str, Any] = {"campaign": campaign("launch"), "agent": agent("writer")}


@pytest.mark.parametrize("kind", SCOPES)
def test_a_narrowed_token_asks_for_its_scope_only(secured: Secured, organization: str, kind: str) -> None:
    """Or for one reservation; for anything else it is PERMISSION_DENIED, and told what to set."""
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1)), secured.operator)
    scope = SCOPES[kind]
    narrowed: Overriding = bearer(secured, organization, Role.AGENT, scope=scope)
    assert narrowed.request(scope=scope).scope == scope
    assert narrowed.request(reservation="i").reservation_id == "i"
    for fields in ({}, {"scope": campaign("other")}, {"scope": agent("launch")}):
        refused = refusal(narrowed.request, **fields)
        assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "OUT_OF_SCOPE")
        assert (refused.metadata["field"], refused.metadata["id"]) == ("scope", scope.id)


def test_a_narrowed_token_sees_the_overrides_of_its_scope(secured: Secured, organization: str) -> None:
    """And the organization's; none that lets others through."""
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1)), secured.operator)
    admin = bearer(secured, organization, Role.ADMIN)
    mine, everyones = admin.on(scope=campaign("launch")), admin.on()
    admin.on(scope=campaign("secret"))
    admin.on(reservation="i")
    narrowed = bearer(secured, organization, Role.AGENT, scope=campaign("launch"))
    assert narrowed.in_force() == [everyones.override_id, mine.override_id]


def test_more_time_than_a_request_needs(wire: Wire, organization: str) -> None:
    """An approval counts from the approval on, not from the request."""
    desk = opened(wire, organization)
    asked = desk.request(ttl_s=60)
    approved = desk.approve(asked.override_id)
    assert approved.expire_time.ToDatetime() - asked.create_time.ToDatetime() < timedelta(seconds=120)
