"""How does a call that is denied ask for an override by itself, and go through once an admin has approved it?"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gatekeeper.domain.access import Role
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import reservation_pb2
from tests.conftest import ServerFactory

from .overriding import ACTIVE, DAY_S, DECLINED, PENDING, bearer, opened, told, trail
from .refusals import refusal
from .secured import Secured
from .wire import Wire, beside, campaign

ASKING: dict[str, Any] = {"reservation_id": "i", "override_request": "the launch is today"}


def test_pause_and_ask(secured: Secured, organization: str) -> None:
    """Denied with a request, approved by an admin, admitted under the same id, booked, and shown to who reads."""
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1)), secured.operator)
    agent, admin = bearer(secured, organization, Role.AGENT), bearer(secured, organization, Role.ADMIN)
    denied = agent.reserve("3", **ASKING).denial
    asked = denied.requested_override
    assert (asked.reservation_id, asked.state, asked.reason) == ("i", PENDING, "the launch is today")
    assert from_money(asked.max_amount) == 3
    assert asked.requested_by.startswith("agent-")
    assert asked.expire_time.ToDatetime() - asked.create_time.ToDatetime() == timedelta(seconds=DAY_S)
    assert admin.listed(state=PENDING) == [asked]
    assert [subject for subject, _ in told(secured.wire, organization)] == [asked.override_id]
    approved = admin.approve(asked.override_id, reason="go")
    assert approved.state == ACTIVE
    assert agent.reserve("3", reservation_id="j").HasField("denial")
    held = agent.reserve("3", **ASKING).reservation
    assert (held.override.override_id, from_money(held.override.amount)) == (asked.override_id, 2)
    commit = pb.CommitRequest(organization=organization, reservation_id="i", amount=to_money("2.5"))
    execution = secured.call("Commit", commit, secured.operator).execution
    assert (execution.override_id, from_money(execution.override_amount)) == (asked.override_id, Decimal("1.5"))
    (listed,) = admin.listed()
    assert (from_money(listed.spent), listed.use_count) == (Decimal("1.5"), 1)
    done = ["OVERRIDE_REQUESTED", "OVERRIDE_GRANTED", "OVERRIDE_USED"]
    assert [action for action, *_ in trail(secured.wire, organization)] == done


def test_asking_again_finds_the_request(wire: Wire, organization: str) -> None:
    """However often a call comes back while it waits, there is one request, told once; another id has its own."""
    desk = opened(wire, organization)
    asked = {wire.deny(organization, "3", **ASKING).requested_override.override_id for _ in range(3)}
    other = wire.deny(organization, "3", **ASKING | {"reservation_id": "j"}).requested_override
    without = wire.deny(organization, "3", reservation_id="i")
    assert not without.HasField("requested_override")
    assert len(asked) == 1
    assert {each.override_id for each in desk.listed()} == asked | {other.override_id}
    assert len(told(wire, organization)) == 2


def test_many_ask_at_once(wire: Wire, organization: str) -> None:
    """Calls of one batch get a request each, and the same id gets one, whichever batch it is in."""
    desk = opened(wire, organization)
    with beside() as pool:
        calls = [
            pool.submit(wire.deny, organization, "3", reservation_id=f"i{number % 10}", override_request="why")
            for number in range(60)
        ]
    denials = [call.result() for call in calls]
    assert {denial.requested_override.state for denial in denials} == {PENDING}
    assert len({denial.requested_override.override_id for denial in denials}) == 10 == len(desk.listed())


def test_a_no_stands(wire: Wire, organization: str) -> None:
    """A call that comes back after it was declined makes no new request; it is shown the no, for a day."""
    desk = opened(wire, organization)
    asked = wire.deny(organization, "3", **ASKING).requested_override
    desk.off(override_id=asked.override_id, reason="no")
    for _ in range(2):
        denial = wire.deny(organization, "3", **ASKING)
        assert (denial.requested_override.override_id, denial.requested_override.state) == (asked.override_id, DECLINED)
        assert "declined" in denial.message
    assert len(told(wire, organization)) == 1
    wire.sql("UPDATE overrides SET ended_at = now() - interval '1 day' WHERE organization = %s", organization)
    assert wire.deny(organization, "3", **ASKING).requested_override.state == PENDING


def test_an_admin_who_grants_less_lets_nothing_more_through(wire: Wire, organization: str) -> None:
    """An approval of less than the call needs is asked for anew by the call; what is enough lets it through."""
    desk = opened(wire, organization)
    asked = wire.deny(organization, "3", **ASKING).requested_override
    desk.approve(asked.override_id, "1.99")
    again = wire.deny(organization, "3", **ASKING).requested_override
    assert again.override_id != asked.override_id
    desk.approve(again.override_id, "2")
    assert wire.hold(organization, "3", reservation_id="i").override.override_id == again.override_id


def test_who_only_asks_what_would_be_makes_no_request(wire: Wire, organization: str) -> None:
    """A Reserve that holds nothing anyway leaves nothing behind."""
    opened(wire, organization)
    before = wire.counts()
    assert not wire.deny(organization, "3", validate_only=True, **ASKING).HasField("requested_override")
    assert wire.counts() == before


def test_what_money_cannot_help_is_not_asked_for(wire: Wire, organization: str) -> None:
    """A frozen budget stays frozen, and a model without a price has none, whatever an admin grants."""
    desk = opened(wire, organization)
    wire.cap(organization, "1", campaign("c"), frozen=True)
    frozen = wire.deny(organization, "3", campaign="c", **ASKING)
    tokens = reservation_pb2.TokenEstimate(model="my-own-model", input_tokens=1)
    unpriced = wire.deny(organization, tokens=tokens, **ASKING)
    reasons = (reservation_pb2.DENIAL_REASON_BUDGET_FROZEN, reservation_pb2.DENIAL_REASON_UNPRICED_MODEL)
    assert (frozen.reason, unpriced.reason) == reasons
    assert not frozen.HasField("requested_override")
    assert not unpriced.HasField("requested_override")
    assert desk.listed() == []


def test_a_call_for_nothing_may_ask_too(wire: Wire, organization: str) -> None:
    """Where more than the cap is used, even a call for nothing is denied; approved, it goes through."""
    desk = opened(wire, organization)
    wire.commit(wire.hold(organization, "1"), "2")
    asked = wire.deny(organization, "0", **ASKING).requested_override
    desk.approve(asked.override_id)
    assert wire.hold(organization, "0", **ASKING).reservation_id == "i"


def test_a_request_needs_an_id(wire: Wire, organization: str) -> None:
    """Nobody knows the id that the server would make, so nobody could come back with it."""
    opened(wire, organization)
    refused = refusal(wire.reserve, organization, "3", override_request="why")
    assert list(refused.violations) == ["reservation_id"]


@pytest.mark.parametrize("reason", [" ", "\u3000"])
def test_a_blank_reason_asks_for_nothing(wire: Wire, organization: str, reason: str) -> None:
    """Whoever does not say why is denied as if it had not asked."""
    desk = opened(wire, organization)
    denial = wire.deny(organization, "3", reservation_id="i", override_request=reason)
    assert not denial.HasField("requested_override")
    assert desk.listed() == []


def test_as_many_as_may_wait(start_server: ServerFactory, database_url: str) -> None:
    """Beyond the most, a denial says that none was asked for, and RequestOverride is refused; grants still fit."""
    server = start_server(database_url=database_url, GATEKEEPER_OVERRIDE_REQUESTS_MAX="3", GATEKEEPER_OVERRIDES_MAX="2")
    with closing(Wire(server.address, database_url)) as wire:
        desk = opened(wire, "acme")
        desk.request()
        denials = [wire.deny("acme", "3", reservation_id=f"i{n}", override_request="why") for n in range(4)]
        assert [denial.HasField("requested_override") for denial in denials] == [True, True, False, False]
        assert all(denial.message.endswith("none was asked for.") for denial in denials[2:])
        refused = refusal(desk.request, reservation="j")
        assert refused.reason == "TOO_MANY_OVERRIDES"
        assert refused.metadata == {"whose": "The organization", "most": "3", "state": "pending"}
        desk.on()
        desk.approve(denials[0].requested_override.override_id)
        for call, arguments in ((desk.on, ()), (desk.approve, (denials[1].requested_override.override_id,))):
            refused = refusal(call, *arguments)
            assert refused.metadata == {"whose": "The organization", "most": "2", "state": "active"}
        assert desk.request(reservation="j").state == PENDING
        desk.off()
        desk.approve(denials[1].requested_override.override_id)
