"""What is refused of those who turn overrides on or ask for them? Each by its field or reason, without a trace."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from gatekeeper.domain.access import Role
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb

from .overriding import DAY_S, PENDING, Overriding, anyone, bearer, opened
from .refusals import Refusal, refusal
from .requests import refused, valid
from .secured import Secured
from .wire import Wire, campaign

Code = grpc.StatusCode
ASKING = ("SetOverride", "SetOverride reservation", "RequestOverride", "RequestOverride reservation")
REASONED = (*ASKING, "SetOverride decision")
OFF = "SetOverride off"


def request_of(name: str) -> Any:
    """Return a request that may be spoilt; to turn off, too."""
    request = valid("SetOverride" if name == OFF else name)
    if name == OFF:
        request.enabled = False
    return request


@pytest.mark.parametrize("reason", ["", " ", "\u3000", "x" * 501, "a\nb", "a\0b"])
@pytest.mark.parametrize("name", [*REASONED, OFF])
def test_reasons(wire: Wire, organization: str, name: str, reason: str) -> None:
    """Whoever grants, asks, decides or ends says why, on one line of at most 500 characters."""
    wire.cap(organization, "1")
    request = request_of(name)
    request.organization, request.reason = organization, reason
    assert list(refused(wire, name.removesuffix(" off"), request).violations) == ["reason"]


@pytest.mark.parametrize("seconds", [0, -1, 31 * DAY_S + 1, 2**63 - 1])
@pytest.mark.parametrize("name", [*ASKING, "SetOverride decision", OFF])
def test_times_to_live(wire: Wire, name: str, seconds: int) -> None:
    """An override lasts more than nothing and at most 31 days."""
    request = request_of(name)
    request.ttl.seconds, request.ttl.nanos = seconds, 0
    assert list(refused(wire, name.removesuffix(" off"), request).violations) == ["ttl"]


@pytest.mark.parametrize("name", ASKING)
def test_amounts(wire: Wire, organization: str, name: str) -> None:
    """An amount is needed, and more than zero."""
    wire.cap(organization, "1")
    request = valid(name)
    request.organization = organization
    request.max_amount.units = 0
    assert list(refused(wire, name, request).violations) == ["max_amount"]
    request.ClearField("max_amount")
    assert list(refused(wire, name, request).violations) == ["max_amount"]


@pytest.mark.parametrize("request_id", ["start-", "start-2026-11-20", "start-over"])
def test_ids_of_servers(wire: Wire, organization: str, request_id: str) -> None:
    """An admin cannot take the id of what a server turns on at its start."""
    desk = opened(wire, organization)
    assert list(seen(wire, desk.on, request_id=request_id).violations) == ["request_id"]
    assert desk.on(request_id=f"re{request_id}").override_id == f"re{request_id}"


def test_an_approval_of_nothing(wire: Wire, organization: str) -> None:
    """Who wants to grant none of what was asked for, declines."""
    desk = opened(wire, organization)
    asked = desk.request()
    refused_now = refusal(desk.approve, asked.override_id, "0")
    assert list(refused_now.violations) == ["max_amount"]


def seen(wire: Wire, call: Any, *arguments: Any, **fields: Any) -> Refusal:
    """Make a call that must be refused, and must leave no trace."""
    before = wire.counts()
    found = refusal(call, *arguments, **fields)
    assert wire.counts() == before
    return found


def test_another_currency(wire: Wire, organization: str) -> None:
    """An override is in the organization's currency."""
    desk = opened(wire, organization)
    asked = desk.request()
    for call, arguments in ((desk.on, ["10"]), (desk.request, ["10"]), (desk.approve, [asked.override_id, "10"])):
        found = seen(wire, call, *arguments, currency="EUR")
        assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, "CURRENCY_MISMATCH")


def everything(desk: Overriding) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Return all that can be done with overrides."""
    return [
        (desk.on, (), {}),
        (desk.on, (), {"reservation": "i"}),
        (desk.request, (), {}),
        (desk.approve, ("v",), {}),
        (desk.off, (), {}),
        (desk.off, (), {"override_id": "v"}),
        (desk.listed, (), {}),
    ]


def test_an_organization_that_is_not_known(wire: Wire, organization: str) -> None:
    """It is NOT_FOUND, and is not opened."""
    for call, arguments, fields in everything(anyone(wire, organization)):
        found = seen(wire, call, *arguments, **fields)
        assert (found.code, found.reason) == (Code.NOT_FOUND, "ORGANIZATION_NOT_FOUND")


def test_an_organization_of_others(secured: Secured, organization: str) -> None:
    """To an admin of another one, it and its overrides are as if they were not there."""
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1)), secured.operator)
    asked = bearer(secured, organization, Role.AGENT).request()
    stranger = secured.token(Role.ADMIN, f"{organization}-2")
    desk = Overriding(lambda rpc, request: secured.call(rpc, request, stranger), organization)
    for call, arguments, fields in everything(desk):
        named = {**fields, **({"override_id": asked.override_id} if "override_id" in fields else {})}
        found = seen(secured.wire, call, *(asked.override_id for _ in arguments), **named)
        assert (found.code, found.reason) == (Code.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    assert bearer(secured, organization, Role.VIEWER).listed() == [asked]


def test_an_override_of_another_organization(wire: Wire, organization: str) -> None:
    """Its id says nothing here: NOT_FOUND, as an id that nobody has; and it stays as it is."""
    other = opened(wire, f"{organization}-2")
    asked = other.request()
    desk = opened(wire, organization)
    for override_id in (asked.override_id, "nobodys"):
        for found in (seen(wire, desk.approve, override_id), seen(wire, desk.off, override_id=override_id)):
            assert (found.code, found.reason) == (Code.NOT_FOUND, "OVERRIDE_NOT_FOUND")
            assert found.metadata == {"override_id": override_id}
    assert [each.state for each in other.listed()] == [PENDING]


def test_scopes_and_reservations_of_another_organization(wire: Wire, organization: str) -> None:
    """A campaign or reservation of the same name elsewhere is not let through."""
    wire.cap(f"{organization}-2", "1")
    desk = opened(wire, organization)
    desk.on(scope=campaign("c"))
    desk.on(reservation="i")
    wire.deny(f"{organization}-2", "3", campaign="c", reservation_id="i")
    wire.hold(organization, "3", campaign="c")


@pytest.mark.parametrize("end", ["held", "committed", "released"])
def test_a_reservation_that_was_admitted(wire: Wire, organization: str, end: str) -> None:
    """There is nothing left to let through: an override for one call has to come before it."""
    desk = opened(wire, organization)
    asked = desk.request(reservation="i")
    held = wire.hold(organization, "1", reservation_id="i")
    if end == "committed":
        wire.commit(held, "1")
    if end == "released":
        wire.release(held)
    for call, arguments, fields in (
        (desk.on, (), {"reservation": "i"}),
        (desk.request, (), {"reservation": "i"}),
        (desk.approve, (asked.override_id,), {}),
    ):
        found = seen(wire, call, *arguments, **fields)
        assert (found.code, found.reason) == (Code.FAILED_PRECONDITION, "RESERVATION_IN_USE")
        assert found.metadata == {"reservation_id": "i"}
    desk.off(override_id=asked.override_id)
