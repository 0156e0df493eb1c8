"""What does freezing stop? Every new call of the budget, at once and in every process, whatever overrides are on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from gatekeeper.domain.access import Role
from gatekeeper_client import AsyncClient, Denied
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb
from gatekeeper_client.v1.gatekeeper_service_pb2 import SetCapRequest

from .overriding import anyone
from .refusals import refusal
from .secured import Secured
from .wire import Wire, agent, campaign, decimals, department, run

FROZEN = pb.DENIAL_REASON_BUDGET_FROZEN
SCOPES = {"department": department("x"), "campaign": campaign("x"), "agent": agent("x"), "run": run("x")}
TRAIL = """
SELECT action, subject, actor, reason, after FROM audit_events
WHERE organization = %s AND action IN ('BUDGET_FROZEN', 'BUDGET_UNFROZEN') ORDER BY event_id
"""


@pytest.mark.parametrize("kind", SCOPES)
def test_a_frozen_budget_stops_its_calls_only(wire: Wire, organization: str, kind: str) -> None:
    """Calls of the scope are denied, and told which budget is frozen; others go on; thawed, so do they."""
    wire.cap(organization, "10", SCOPES[kind], frozen=True, reason="it runs wild")
    denial = wire.deny(organization, "1", **{kind: "x"})
    assert (denial.reason, denial.budget.scope, denial.budget.frozen) == (FROZEN, SCOPES[kind], True)
    assert "is frozen; an admin has to thaw it." in denial.message
    assert (denial.floor_percent, denial.HasField("headroom_time")) == (0, False)
    wire.hold(organization, "1", **{kind: "y"})
    wire.hold(organization, "1")
    assert not wire.status(organization, SCOPES[kind]).can_execute
    assert wire.status(organization).can_execute
    wire.cap(organization, scope=SCOPES[kind], frozen=False)
    wire.hold(organization, "1", **{kind: "x"})


@pytest.mark.parametrize("window", [1, 2, 3], ids=["day", "month", "total"])
def test_a_frozen_organization_stops_all(wire: Wire, organization: str, window: budget_pb2.BudgetWindow) -> None:
    """One frozen budget of the organization, over any window, denies every call of every scope."""
    wire.cap(organization, "10", window=window, frozen=True)
    for call in ({}, {"campaign": "c"}, {"department": "d", "agent": "a", "run": "r"}):
        assert wire.deny(organization, "0", **call).reason == FROZEN
    assert not wire.status(organization).can_execute
    wire.cap(organization, window=window, frozen=False)
    wire.hold(organization, "1")


@pytest.mark.parametrize("target", ["organization", "campaign", "run", "reservation", "named"])
def test_no_override_thaws(wire: Wire, organization: str, target: str) -> None:
    """A call under a frozen budget is denied whatever override is on for it, and books nothing."""
    targets: dict[str, Any] = {"campaign": {"scope": campaign("c")}, "run": {"scope": run("r")}}
    targets["reservation"] = {"reservation": "urgent"}
    wire.cap(organization, "1")
    desk = anyone(wire, organization)
    override = desk.on("100", **targets.get(target, {}))
    call = {"campaign": "c", "run": "r", "reservation_id": "urgent"}
    if target == "named":
        call["override_id"] = override.override_id
    for scope in (None, campaign("c")):
        wire.cap(organization, "1", scope, frozen=True)
        for amount in ("0", "1", "5"):
            assert wire.deny(organization, amount, **call).reason == FROZEN
        wire.cap(organization, scope=scope, frozen=False)
    (listed,) = desk.listed()
    assert (from_money(listed.remaining), listed.use_count) == (100, 0)
    assert wire.hold(organization, "5", **call).override.override_id == override.override_id


def test_a_hold_of_an_override_is_not_raised(wire: Wire, organization: str) -> None:
    """Under a frozen budget what an override pays for is committed as ever, but not raised."""
    wire.cap(organization, "1")
    anyone(wire, organization).on("100")
    held = wire.hold(organization, "5")
    wire.cap(organization, frozen=True)
    assert wire.extend(held, "6").denial.reason == FROZEN
    wire.commit(held, "5")
    assert decimals(wire.budget(organization)) == (5, 0, 0)


def test_a_frozen_budget_stops_every_priority(wire: Wire, organization: str) -> None:
    """CRITICAL calls stop as well."""
    wire.cap(organization, "10", frozen=True)
    for priority in budget_pb2.Priority.values():
        assert wire.deny(organization, "1", priority=priority).reason == FROZEN


def test_freezing_is_written_down(secured: Secured, organization: str) -> None:
    """Who froze and who thawed which budget, and why; what leaves it as frozen as it was is another change."""
    admin = secured.token(Role.ADMIN, organization)

    def cap(token: str, **fields: Any) -> None:
        request = SetCapRequest(organization=organization, scope=campaign("c"), **fields)
        secured.call("SetCap", request, token)

    cap(secured.operator, cap=to_money(10))
    cap(admin, frozen=True, reason="it runs wild")
    cap(admin, frozen=True, cap=to_money(5))
    cap(secured.operator, frozen=False, reason="mended")
    found = secured.wire.sql(TRAIL, organization)
    assert [(action, subject, reason) for action, subject, _, reason, _ in found] == [
        ("BUDGET_FROZEN", "budget of campaign 'c', month", "it runs wild"),
        ("BUDGET_UNFROZEN", "budget of campaign 'c', month", "mended"),
    ]
    assert [json.loads(row[4])["frozen"] for row in found] == ["true", "false"]
    assert found[0][2].startswith("admin-")
    assert found[1][2].startswith("operator-")


def test_a_budget_may_be_born_frozen(wire: Wire, organization: str) -> None:
    """Frozen by the very SetCap that makes it, it is written down as frozen."""
    wire.cap(organization, "10", campaign("c"), frozen=True, reason="not before May")
    ((action, _, _, reason, _),) = wire.sql(TRAIL, organization)
    assert (action, reason) == ("BUDGET_FROZEN", "not before May")


@pytest.mark.parametrize("role", [Role.AGENT, Role.VIEWER])
def test_only_admins_freeze(secured: Secured, organization: str, role: Role) -> None:
    """Whoever spends, or only looks, can neither freeze nor thaw."""
    token = secured.token(role, organization)
    for frozen in (True, False):
        request = SetCapRequest(organization=organization, cap=to_money(1), frozen=frozen)
        assert refusal(secured.call, "SetCap", request, token).code == grpc.StatusCode.PERMISSION_DENIED


def test_every_process_stops_at_once(wire: Wire, second_wire: Wire, organization: str) -> None:
    """What is frozen through one server, the next call through another one meets, and so it is with thawing."""
    wire.cap(organization, "1000")
    wire.cap(organization, "1000", campaign("c"))
    for scope in (None, campaign("c")):
        for _ in range(5):
            second_wire.hold(organization, "1", campaign="c")
            wire.cap(organization, scope=scope, frozen=True)
            assert second_wire.deny(organization, "1", campaign="c").reason == FROZEN
            wire.cap(organization, scope=scope, frozen=False)


def test_nobody_passes_once_it_is_answered(wire: Wire, second_wire: Wire, organization: str) -> None:
    """While callers of two servers reserve, none that begins after the answer to the freeze is admitted."""

    async def is_admitted(client: AsyncClient) -> bool:
        return not isinstance(await client.reserve(organization, amount="0.01"), Denied)

    async def race() -> tuple[int, int]:
        async with AsyncClient(wire.address) as first, AsyncClient(second_wire.address) as second:
            await first.set_cap(organization, cap=1000)
            before = [asyncio.create_task(is_admitted(client)) for client in (first, second) * 50]
            await asyncio.gather(*before[:10])
            await first.set_cap(organization, frozen=True)
            after = await asyncio.gather(*(is_admitted(client) for client in (first, second) * 50))
            return sum(await asyncio.gather(*before)), sum(after)

    admitted, passed = asyncio.run(race())
    assert passed == 0
    assert from_money(wire.budget(organization).reserved) * 100 == admitted >= 10
