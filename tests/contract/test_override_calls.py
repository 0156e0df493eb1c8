"""Whose call, and which, does an override let through that was asked for with a reservation's id?"""

from __future__ import annotations

from typing import Any

import pytest

from gatekeeper.domain.access import Role
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import override_pb2, reservation_pb2

from .overriding import ACTIVE, DECLINED, PENDING, Overriding, bearer, told
from .refusals import refusal
from .secured import Secured
from .wire import agent, campaign, department, run

CALL: dict[str, Any] = {"department": "d", "campaign": "c", "agent": "a", "run": "r"}
SCOPES = [department("d"), campaign("c"), agent("a"), run("r")]
REQUESTS_OF_ONE_MAX = 10


@pytest.fixture
def people(secured: Secured, organization: str) -> tuple[Overriding, Overriding, Overriding]:
    """Return two agents and an admin of an organization that is open."""
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1)), secured.operator)
    mine, other = (bearer(secured, organization, Role.AGENT) for _ in range(2))
    return mine, other, bearer(secured, organization, Role.ADMIN)


def asked_by(caller: Overriding, **call: Any) -> reservation_pb2.Denial:
    """Be denied, and ask for an override."""
    return caller.reserve("3", reservation_id="i", override_request=f"{caller.token[-4:]} needs it", **call).denial


def is_denied(caller: Overriding, **call: Any) -> bool:
    return caller.reserve("3", reservation_id="i", **call).HasField("denial")


def test_it_is_for_who_has_asked(people: tuple[Overriding, Overriding, Overriding]) -> None:
    """Nobody else is let through by the same id, not even who names the override."""
    mine, other, admin = people
    asked = asked_by(mine).requested_override
    admin.approve(asked.override_id)
    assert is_denied(other)
    assert is_denied(other, override_id=asked.override_id)
    assert not is_denied(mine)


@pytest.mark.parametrize("kind", CALL)
def test_it_is_for_what_was_asked(people: tuple[Overriding, Overriding, Overriding], kind: str) -> None:
    """A call of another department, campaign, agent or run is not let through, nor is one that leaves it out."""
    mine, _, admin = people
    admin.approve(asked_by(mine, **CALL).requested_override.override_id)
    assert is_denied(mine, **CALL | {kind: "x"})
    assert is_denied(mine, **CALL | {kind: ""})
    assert not is_denied(mine, **CALL)


def test_what_the_call_says_more_is_no_hindrance(people: tuple[Overriding, Overriding, Overriding]) -> None:
    """It is as narrow as what was asked for, or narrower."""
    mine, _, admin = people
    admin.approve(asked_by(mine, campaign="c").requested_override.override_id)
    assert not is_denied(mine, **CALL)


def test_admins_see_what_the_call_is_for(
    secured: Secured, organization: str, people: tuple[Overriding, Overriding, Overriding]
) -> None:
    """In the denial, in the list, in the alert, in the audit trail, and still once it is approved."""
    mine, _, admin = people
    asked = asked_by(mine, **CALL).requested_override
    assert [*asked.call_scopes] == SCOPES
    assert admin.listed() == [asked]
    assert [*admin.approve(asked.override_id).call_scopes] == SCOPES
    words = "department 'd', campaign 'c', agent 'a', run 'r'"
    ((_, message),) = told(secured.wire, organization)
    assert f"for reservation 'i' ({words}) waits" in message
    kept = secured.wire.sql(
        "SELECT after::jsonb ->> 'call_scopes' FROM audit_events"
        " WHERE organization = %s AND action LIKE 'OVERRIDE%%' ORDER BY event_id",
        organization,
    )
    assert [row[0] for row in kept] == [words] * 2


def test_nobody_squats_on_an_id(people: tuple[Overriding, Overriding, Overriding]) -> None:
    """What somebody else asks for under an id, waiting or declined, keeps nobody from asking, and is not shown."""
    mine, other, admin = people
    squatted = asked_by(other).requested_override
    asked = asked_by(mine).requested_override
    admin.off(override_id=squatted.override_id)
    again = asked_by(mine)
    assert again.requested_override == asked
    assert (asked.state, asked.reason) == (PENDING, f"{mine.token[-4:]} needs it")
    assert "declined" not in again.message
    assert asked_by(other).requested_override.state == DECLINED
    assert admin.approve(asked.override_id).state == ACTIVE
    assert not is_denied(mine)


def test_who_asks_without_a_call_is_bound_too(people: tuple[Overriding, Overriding, Overriding]) -> None:
    """An agent's RequestOverride for a reservation is for its own call, whatever that is for."""
    mine, other, admin = people
    asked = mine.request(reservation="i")
    assert [*asked.call_scopes] == []
    admin.approve(asked.override_id)
    assert is_denied(other)
    assert not is_denied(mine, **CALL)


@pytest.mark.parametrize("scope", [campaign("launch"), agent("writer")])
def test_a_narrowed_token_asks_for_calls_of_its_scope(
    secured: Secured, organization: str, people: tuple[Overriding, Overriding, Overriding], scope: Any
) -> None:
    """Admins are told which."""
    narrowed = bearer(secured, organization, Role.AGENT, scope=scope)
    asked = narrowed.request(reservation="i")
    assert [*asked.call_scopes] == [scope]
    people[2].approve(asked.override_id)
    call = {"campaign": "launch", "agent": "writer"}
    assert is_denied(people[0], **call)
    assert not is_denied(narrowed, **call)


@pytest.mark.parametrize("ask", ["request", "on"])
def test_admins_let_calls_of_anybody_through(people: tuple[Overriding, Overriding, Overriding], ask: str) -> None:
    """Whoever makes no calls asks for those of others, or grants them."""
    mine, _, admin = people
    override: override_pb2.Override = getattr(admin, ask)(reservation="i")
    assert [*override.call_scopes] == []
    admin.approve(override.override_id)
    assert not is_denied(mine, **CALL)


def test_nobody_asks_for_others(people: tuple[Overriding, Overriding, Overriding]) -> None:
    """A tenth of all that may wait is one caller's; then it has to wait, and nobody else."""
    mine, other, admin = people
    waiting = [mine.request(reservation=f"j{number}") for number in range(REQUESTS_OF_ONE_MAX)]
    refused = refusal(mine.request, reservation="i")
    assert refused.reason == "TOO_MANY_OVERRIDES"
    assert refused.metadata == {
        "whose": f"Caller {waiting[0].requested_by!r}",
        "state": "pending",
        "most": str(REQUESTS_OF_ONE_MAX),
    }
    denial = asked_by(mine)
    assert not denial.HasField("requested_override")
    assert denial.message.endswith("none was asked for.")
    assert mine.request(reservation="j0") == waiting[0]
    assert asked_by(other).HasField("requested_override")
    admin.off(override_id=waiting[0].override_id)
    assert asked_by(mine).HasField("requested_override")
    assert not mine.reserve("3", reservation_id="k", override_request="why").denial.HasField("requested_override")
