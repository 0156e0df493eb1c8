"""Do two admins have to agree to a large override, and are they two? With real tokens, on a server that demands it."""

from __future__ import annotations

from contextlib import closing

import grpc

from gatekeeper_client.money import from_money
from tests.conftest import ServerFactory

from .overriding import ACTIVE, DAY_S, DECLINED, PENDING, Office, Overriding, opened, told, trail
from .refusals import refusal
from .secured import Secured
from .wire import Wire

SECOND_NEEDED = (grpc.StatusCode.FAILED_PRECONDITION, "OVERRIDE_NEEDS_ANOTHER")


def test_one_admin_is_enough_up_to_the_amount(office: Office) -> None:
    """50 is not above 50."""
    assert office.ada.on("50").state == ACTIVE
    assert not office.is_denied()


def test_a_large_grant_waits_for_another_admin(wary: Secured, organization: str, office: Office) -> None:
    """It pays for nothing until somebody else approves it; who has granted it cannot, however often."""
    granted = office.ada.on("50.01")
    assert (granted.state, bool(granted.granted_by), granted.approved_by) == (PENDING, True, "")
    for _ in range(2):
        refused = refusal(office.ada.approve, granted.override_id)
        assert (refused.code, refused.reason) == SECOND_NEEDED
        assert refused.metadata == {
            "override_id": granted.override_id,
            "amount": "50.01 USD",
            "granted_by": granted.granted_by,
        }
    assert office.is_denied()
    approved = office.grace.approve(granted.override_id)
    assert (approved.state, approved.granted_by) == (ACTIVE, granted.granted_by)
    assert approved.approved_by not in {"", granted.granted_by}
    assert not office.is_denied()
    done = [(action, state) for action, _, _, state in trail(wary.wire, organization)][:2]
    assert done == [("OVERRIDE_GRANTED", "PENDING"), ("OVERRIDE_APPROVED", "ACTIVE")]
    ((subject, message),) = told(wary.wire, organization)
    assert subject == granted.override_id
    assert "waits for a second admin" in message


def test_a_large_request_needs_two_admins(wary: Secured, organization: str, office: Office) -> None:
    """The agent's request is told, then the first admin's yes; only the second turns it on."""
    asked = office.agent.request("80")
    first = office.ada.approve(asked.override_id)
    assert (first.state, bool(first.granted_by), first.approved_by) == (PENDING, True, "")
    assert (first.expire_time.ToDatetime() - asked.create_time.ToDatetime()).total_seconds() >= DAY_S
    assert (refusal(office.ada.approve, asked.override_id).reason, office.is_denied()) == (SECOND_NEEDED[1], True)
    second = office.operator.approve(asked.override_id)
    assert (second.state, second.requested_by) == (ACTIVE, asked.requested_by)
    assert len({second.granted_by, second.approved_by}) == 2
    assert not office.is_denied()
    actions = [action for action, *_ in trail(wary.wire, organization)][:3]
    assert actions == ["OVERRIDE_REQUESTED", "OVERRIDE_GRANTED", "OVERRIDE_APPROVED"]
    assert [subject for subject, _ in told(wary.wire, organization)] == [asked.override_id] * 2


def test_a_request_of_an_admin_is_no_yes(office: Office) -> None:
    """Whoever asks has not granted yet: two admins have to approve what one of them asked for."""
    asked = office.ada.request("80")
    assert office.ada.approve(asked.override_id).state == PENDING
    assert office.grace.approve(asked.override_id).state == ACTIVE


def test_lowered_to_what_one_admin_may_grant(office: Office) -> None:
    """Less than was asked for may need no second admin, also where whoever has granted it lowers it."""
    asked = office.agent.request("80")
    approved = office.ada.approve(asked.override_id, "50")
    assert (approved.state, from_money(approved.max_amount), approved.approved_by) == (ACTIVE, 50, "")
    office.ada.off(override_id=approved.override_id)
    granted = office.ada.on("80")
    lowered = office.ada.approve(granted.override_id, "40")
    assert (lowered.state, from_money(lowered.max_amount), lowered.approved_by) == (ACTIVE, 40, "")


def test_lowered_but_still_large(office: Office) -> None:
    """The second admin may lower it; what the first has lowered, nobody raises again."""
    asked = office.agent.request("80")
    office.ada.approve(asked.override_id, "70")
    assert list(refusal(office.grace.approve, asked.override_id, "70.01").violations) == ["max_amount"]
    assert from_money(office.grace.approve(asked.override_id, "60").max_amount) == 60


def test_either_admin_declines(office: Office) -> None:
    """One no is enough, even of whoever had granted it."""
    for admin in (office.ada, office.grace):
        granted = office.ada.on("80")
        assert admin.off(override_id=granted.override_id).override.state == DECLINED


def test_half_granted_ones_are_bounded(office: Office) -> None:
    """No more wait for a second admin than may be in force; what agents ask for is no hindrance to that."""
    asked = [office.agent.request("80", reservation=f"i{number}") for number in range(4)]
    for _ in range(2):
        office.ada.on("80")
    for refused in (refusal(office.ada.on, "80"), refusal(office.ada.approve, asked[0].override_id)):
        assert (refused.reason, refused.metadata["state"]) == ("TOO_MANY_OVERRIDES", "pending")
    assert office.ada.on("50").state == ACTIVE


def test_nobody_unknown_is_another(start_server: ServerFactory, database_url: str) -> None:
    """A server that asks for no tokens tells nobody apart: what needs two admins waits for ever, or is lowered."""
    server = start_server(database_url=database_url, GATEKEEPER_OVERRIDE_SECOND_ADMIN_ABOVE="50")
    with closing(Wire(server.address, database_url)) as wire:
        desk: Overriding = opened(wire, "acme")
        granted, asked = desk.on("80"), desk.request("80")
        desk.approve(asked.override_id)
        for override in (granted, asked):
            refused = refusal(desk.approve, override.override_id)
            assert (refused.code, refused.reason) == SECOND_NEEDED
        assert {each.state for each in desk.listed()} == {PENDING}
        assert desk.approve(asked.override_id, "50").state == ACTIVE


def test_who_was_unknown_has_not_granted(start_server: ServerFactory, database_url: str) -> None:
    """What was granted where nobody is asked for a token takes two admins who are known."""
    settings = {"GATEKEEPER_OVERRIDE_SECOND_ADMIN_ABOVE": "50"}
    with closing(Wire(start_server(database_url=database_url, **settings).address, database_url)) as wire:
        desk = opened(wire, "acme")
        settings["GATEKEEPER_INSECURE"] = "0"
        server = start_server(database_url=database_url, **settings)
        with closing(Wire(server.address, database_url)) as wary:
            office = Office(Secured(wary), "acme")
            granted = desk.on("80")
            first = office.ada.approve(granted.override_id)
            assert (first.state, first.granted_by == granted.granted_by) == (PENDING, False)
            assert office.grace.approve(granted.override_id).state == ACTIVE
