"""What does an admin turn on and off with SetOverride, and which calls does that let through?"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC
from typing import Any

import grpc
import pytest

from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import override_pb2
from tests.conftest import ServerFactory

from .overriding import ACTIVE, DAY_S, DECLINED, ENDED, HOUR_S, PENDING, anyone, opened, told, trail
from .refusals import refusal
from .wire import ORGANIZATION, Wire, agent, campaign, department, run

TARGETS: dict[str, dict[str, Any]] = {
    "organization": {},
    "department": {"scope": department("d")},
    "campaign": {"scope": campaign("c")},
    "agent": {"scope": agent("a")},
    "run": {"scope": run("r")},
    "reservation": {"reservation": "i"},
}
CALL = {"department": "d", "campaign": "c", "agent": "a", "run": "r", "reservation_id": "i"}
OTHER = {"department": "x", "campaign": "x", "agent": "x", "run": "x", "reservation_id": "x"}


def lasts_s(override: override_pb2.Override) -> float:
    """Return how long an override stands from its making on."""
    return (override.expire_time.ToDatetime() - override.create_time.ToDatetime()).total_seconds()


def test_an_override_is_what_was_granted(wire: Wire, organization: str) -> None:
    """The answer repeats what was said, with an id, a time and who did it; nothing is paid yet."""
    desk = opened(wire, organization)
    override = desk.on("12.5", scope=campaign("c"), ttl_s=60, reason="Frühjahr")
    assert override.override_id
    assert (override.organization, override.scope, override.state) == (organization, campaign("c"), ACTIVE)
    assert override.max_amount == override.remaining == to_money("12.5", "USD")
    assert override.spent == override.reserved == to_money(0, "USD")
    assert (override.reason, override.granted_by, override.requested_by) == ("Frühjahr", "anyone", "")
    assert lasts_s(override) == 60
    assert not override.HasField("end_time")
    assert desk.listed() == [override]
    assert (trail(wire, organization), told(wire, organization)) == (
        [("OVERRIDE_GRANTED", "anyone", "Frühjahr", "ACTIVE")],
        [],
    )


def test_little_need_be_said(wire: Wire, organization: str) -> None:
    """An override is for the whole organization, and lasts an hour."""
    override = opened(wire, organization).on()
    assert (override.scope, lasts_s(override)) == (ORGANIZATION, HOUR_S)


def test_the_same_again_grants_nothing_more(wire: Wire, organization: str) -> None:
    """A request under an id of the admin's may be sent again, also once it was ended; not with other terms."""
    desk = opened(wire, organization)
    granted = desk.on("5", request_id="o-1")
    assert granted.override_id == "o-1"
    assert desk.on("5", request_id="o-1") == granted
    found = refusal(desk.on, "6", request_id="o-1")
    assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "OVERRIDE_MISMATCH")
    desk.off(override_id="o-1")
    assert desk.on("5", request_id="o-1").state == ENDED
    assert len(desk.listed()) == 1


def test_one_lasts_for_31_days_at_most(wire: Wire, organization: str) -> None:
    """The longest is granted as it is asked for."""
    assert lasts_s(opened(wire, organization).on(ttl_s=31 * DAY_S)) == 31 * DAY_S


@pytest.mark.parametrize("kind", TARGETS)
def test_a_call_that_it_is_for_goes_through(wire: Wire, organization: str, kind: str) -> None:
    """Of every kind of target: what of the call is beyond the cap is booked, and others are denied as before."""
    desk = opened(wire, organization)
    wire.deny(organization, "3", **CALL)
    override = desk.on("10", **TARGETS[kind])
    if kind != "organization":
        wire.deny(organization, "3", **OTHER)
    held = wire.hold(organization, "3", **CALL)
    assert (held.override.override_id, from_money(held.override.amount)) == (override.override_id, 2)
    (now,) = desk.listed()
    assert (from_money(now.reserved), from_money(now.remaining)) == (2, 8)


def test_it_pays_no_more_than_was_granted(wire: Wire, organization: str) -> None:
    """A call beyond what is left of it is denied, and what a call gives back can be paid again."""
    desk = opened(wire, organization)
    desk.on("2")
    held = wire.hold(organization, "3")
    wire.deny(organization, "0.01")
    wire.release(held)
    wire.commit(wire.hold(organization, "3"), "2.5")
    (override,) = desk.listed()
    assert [from_money(each) for each in (override.spent, override.reserved, override.remaining)] == [1.5, 0, 0.5]


def test_off_ends_it_at_once(wire: Wire, organization: str) -> None:
    """The next call is denied, what is held stays held, and the same again is answered the same."""
    desk = opened(wire, organization)
    override = desk.on()
    held = wire.hold(organization, "3")
    answer = desk.off(override_id=override.override_id, reason="it is over")
    wire.deny(organization, "0.01")
    assert [each.override_id for each in answer.ended] == [override.override_id]
    assert answer.override == answer.ended[0]
    assert (answer.override.state, answer.override.ended_by) == (ENDED, "anyone")
    assert answer.override.HasField("end_time")
    assert (from_money(answer.override.reserved), answer.override.remaining) == (2, to_money(0, "USD"))
    assert desk.off(override_id=override.override_id) == answer
    wire.commit(held, "3")
    assert from_money(desk.listed()[0].spent) == 2
    done = [("OVERRIDE_GRANTED", "ACTIVE"), ("OVERRIDE_USED", ""), ("OVERRIDE_ENDED", "ENDED")]
    assert [(action, state) for action, _, _, state in trail(wire, organization)] == done


@pytest.mark.parametrize("kind", TARGETS)
def test_off_ends_all_of_exactly_its_target(wire: Wire, organization: str, kind: str) -> None:
    """All that are on for the target are ended, the newest first, requests are declined, and no other is touched."""
    desk = opened(wire, organization)
    made = {other: desk.on(**target) for other, target in TARGETS.items() if other != kind}
    mine = [desk.on(**TARGETS[kind]), desk.request(**TARGETS[kind]), desk.on(**TARGETS[kind])]
    answer = desk.off(**TARGETS[kind])
    assert [each.override_id for each in answer.ended] == [each.override_id for each in reversed(mine)]
    assert [each.state for each in answer.ended] == [ENDED, DECLINED, ENDED]
    assert answer.override == answer.ended[0]
    left = {each.override_id for each in desk.listed(state=ACTIVE)}
    assert left == {each.override_id for each in made.values()}
    assert desk.listed(state=PENDING) == []


def test_off_where_nothing_is_on(wire: Wire, organization: str) -> None:
    """There is nothing to end, and nothing is written down."""
    desk = opened(wire, organization)
    desk.on(scope=campaign("c"))
    answer = desk.off()
    assert not answer.HasField("override")
    assert not answer.ended
    assert len(trail(wire, organization)) == 1


def test_calls_look_for_overrides_while_one_is_on(wire: Wire, organization: str) -> None:
    """The organization's row says until when: the latest end of those that are on, and nothing once none is."""

    def until() -> Any:
        return wire.sql("SELECT overrides_until FROM organizations WHERE organization = %s", organization)[0][0]

    desk = opened(wire, organization)
    assert until() is None
    longer, shorter = desk.on(ttl_s=DAY_S), desk.on(ttl_s=60)
    assert until() == longer.expire_time.ToDatetime(UTC)
    desk.request(ttl_s=31 * DAY_S)
    desk.off(override_id=longer.override_id)
    assert until() == shorter.expire_time.ToDatetime(UTC)
    desk.off()
    assert until() is None


def test_status_tells_what_is_on(wire: Wire, organization: str) -> None:
    """All that are in force, the newest first; with scopes, those of these scopes and of the organization."""
    desk = opened(wire, organization)
    assert desk.in_force() == []
    ids = {kind: desk.on(**target).override_id for kind, target in TARGETS.items()}
    desk.request()
    ended = desk.on(scope=campaign("c"))
    desk.off(override_id=ended.override_id)
    assert desk.in_force() == list(ids.values())[::-1]
    assert desk.in_force(campaign("c")) == [ids["campaign"], ids["organization"]]
    assert desk.in_force(campaign("x"), agent("a")) == [ids["agent"], ids["organization"]]
    wire.sql("UPDATE overrides SET expires_at = now() WHERE organization = %s", organization)
    assert desk.in_force() == []


def test_on_and_off_count_in_every_process(start_server: ServerFactory, database_url: str) -> None:
    """What is turned on or off through one server, the very next call of another one meets."""
    first, second = (Wire(start_server(database_url=database_url).address, database_url) for _ in range(2))
    with closing(first), closing(second):
        desk = opened(first, "acme")
        for _ in range(5):
            second.deny("acme", "3")
            override = desk.on("4")
            held = second.hold("acme", "3")
            desk.off(override_id=override.override_id)
            second.deny("acme", "0.01", campaign="c")
            second.release(held)
        assert {each.state for each in anyone(second, "acme").listed()} == {ENDED}
