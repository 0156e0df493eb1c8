"""Which of several overrides pays for a call? The narrowest that can pay all of it, or the one that the call names."""

from __future__ import annotations

from typing import Any

import grpc

from .override_sums import EXCESSES, booked, standing
from .overriding import DAY_S, HOUR_S, opened
from .refusals import refusal
from .wire import Wire, campaign, run


def test_the_narrowest_pays(wire: Wire, organization: str) -> None:
    """A reservation's own override comes first, then its run's, then the broader; of equals, what ends first."""
    desk = opened(wire, organization, "0")
    expected = [
        desk.on("10", reservation="i"),
        desk.on("10", scope=run("r")),
        desk.on("10", scope=campaign("c"), ttl_s=HOUR_S),
        desk.on("10", scope=campaign("c"), ttl_s=DAY_S),
        desk.on("10"),
    ]
    for number, override in enumerate(expected):
        reservation_id = "i" if number == 0 else ""
        held = wire.hold(organization, "10", reservation_id=reservation_id, campaign="c", run="r")
        assert held.override.override_id == override.override_id
    wire.deny(organization, "0.01", campaign="c", run="r")


def test_only_the_named_one_pays(wire: Wire, organization: str) -> None:
    """A call that names an override gets that one, though a narrower is on; or a denial where that does not do."""
    desk = opened(wire, organization, "0")
    broad, narrow = desk.on("3"), desk.on("10", scope=run("r"))
    held = wire.hold(organization, "2", run="r", override_id=broad.override_id)
    assert held.override.override_id == broad.override_id
    wire.deny(organization, "2", run="r", override_id=broad.override_id)
    wire.deny(organization, "2", run="other", override_id=narrow.override_id)
    desk.off(override_id=narrow.override_id)
    wire.deny(organization, "1", run="r", override_id=narrow.override_id)
    wire.hold(organization, "1", run="r")


def test_a_larger_cost_is_paid_by_the_one_that_pays(wire: Wire, organization: str) -> None:
    """What a call costs beyond its hold comes out of the hold's override alone, though a narrower one has more left."""
    desk = opened(wire, organization, "0")
    broad, narrow = desk.on("3"), desk.on("10", scope=run("r"))
    held = wire.hold(organization, "2", run="r", override_id=broad.override_id)
    wire.commit(held, "7")
    assert (booked(desk, broad.override_id), booked(desk, narrow.override_id)) == ((0, 3), (0, 0))
    assert wire.sql(EXCESSES, organization) == [("OVERAGE", 4)]


def test_an_override_that_nobody_knows(wire: Wire, organization: str) -> None:
    """It is NOT_FOUND, also where there is room, and nothing is held."""
    opened(wire, organization, "10")
    refused = refusal(wire.reserve, organization, "1", override_id="unknown")
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "OVERRIDE_NOT_FOUND")
    assert refused.metadata == {"override_id": "unknown"}
    assert standing(wire, organization) == (0, 0, 0)


def test_a_named_one_is_part_of_the_content(wire: Wire, organization: str) -> None:
    """The same id with another override_id is another request; the same again is the same answer."""
    desk = opened(wire, organization, "0")
    override = desk.on("3")
    named: dict[str, Any] = {"reservation_id": "same", "override_id": override.override_id}
    held = wire.hold(organization, "2", **named)
    assert wire.hold(organization, "2", **named) == held
    assert refusal(wire.reserve, organization, "2", reservation_id="same").reason == "RESERVATION_MISMATCH"
    desk.off(override_id=override.override_id)
    assert wire.hold(organization, "2", **named) == held
    assert booked(desk) == (2, 0)
