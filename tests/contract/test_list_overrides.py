"""What is listed of overrides? Newest first, in any state, with what each has cost and who used it, page by page."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import report_service_pb2 as pb

from .overriding import ACTIVE, DECLINED, ENDED, EXPIRED, PENDING, Overriding, opened
from .refusals import refusal
from .wire import TIMEOUT_S, Wire, campaign


def page(wire: Wire, organization: str, **fields: Any) -> pb.ListOverridesResponse:
    """Return one page."""
    return wire.reports.ListOverrides(pb.ListOverridesRequest(organization=organization, **fields), timeout=TIMEOUT_S)


def in_all_states(wire: Wire, desk: Overriding) -> dict[int, str]:
    """Make an override in each state; return their ids, the oldest first."""
    expired, ended = desk.on(), desk.on()
    wire.sql(
        "UPDATE overrides SET expires_at = now() WHERE organization = %s AND override_id = %s",
        desk.organization,
        expired.override_id,
    )
    desk.off(override_id=ended.override_id)
    declined, pending, active = desk.request(reservation="i"), desk.request(), desk.on()
    desk.off(override_id=declined.override_id)
    made = {EXPIRED: expired, ENDED: ended, DECLINED: declined, PENDING: pending, ACTIVE: active}
    return {state: override.override_id for state, override in made.items()}


def test_in_any_state(wire: Wire, organization: str) -> None:
    """All of them, the newest first, or those of one state; what is over by the clock is EXPIRED."""
    desk = opened(wire, organization)
    made = in_all_states(wire, desk)
    assert [(each.state, each.override_id) for each in desk.listed()] == [*made.items()][::-1]
    for state, override_id in made.items():
        assert [each.override_id for each in desk.listed(state=state)] == [override_id]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_page_by_page(wire: Wire, organization: str, size: int) -> None:
    """Pages continue where the last one ended, whatever is made meanwhile; the last one has no token."""
    desk = opened(wire, organization)
    made = [desk.on().override_id for _ in range(5)]
    listed: list[str] = []
    token = ""
    while token or not listed:
        answer = page(wire, organization, page_size=size, page_token=token)
        assert len(answer.overrides) <= size
        listed += [override.override_id for override in answer.overrides]
        token = answer.next_page_token
        desk.on(scope=campaign("c"))
    assert listed == made[::-1]


def test_a_token_belongs_to_its_request(wire: Wire, organization: str) -> None:
    """One of another request, or none at all, is refused."""
    desk = opened(wire, organization)
    for _ in range(2):
        desk.on()
    token = page(wire, organization, page_size=1).next_page_token
    for fields in ({"page_token": token, "state": ACTIVE}, {"page_token": "x"}):
        refused = refusal(page, wire, organization, **fields)
        assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


def test_who_used_it(wire: Wire, organization: str) -> None:
    """Each reservation that it paid for, the newest first: what it holds or has cost, of which agent and run."""
    desk = opened(wire, organization)
    desk.on("10")
    held = wire.hold(organization, "3", agent="a", run="r")
    committed = wire.hold(organization, "4", agent="b")
    wire.commit(committed, "2")
    released = wire.hold(organization, "1")
    wire.release(released)
    (override,) = desk.listed()
    assert override.use_count == 3
    told = [(use.reservation_id, use.agent, use.run, from_money(use.amount)) for use in override.uses]
    assert told == [
        (released.reservation_id, "", "", 0),
        (committed.reservation_id, "b", "", 2),
        (held.reservation_id, "a", "r", 2),
    ]
    assert override.uses[0].create_time == released.create_time
    assert {use.override_id for use in override.uses} == {override.override_id}
    assert [from_money(each) for each in (override.spent, override.reserved)] == [2, 2]


def test_the_newest_uses_are_told(wire: Wire, organization: str) -> None:
    """All are counted, twenty are told; each override has its own."""
    desk = opened(wire, organization)
    wide, narrow = desk.on("100"), desk.on("100", scope=campaign("c"))
    holds = [wire.hold(organization, "2").reservation_id for _ in range(23)]
    other = wire.hold(organization, "2", campaign="c")
    listed = {override.override_id: override for override in desk.listed()}
    assert listed[wide.override_id].use_count == 23
    assert [use.reservation_id for use in listed[wide.override_id].uses] == holds[:2:-1]
    assert [use.reservation_id for use in listed[narrow.override_id].uses] == [other.reservation_id]
