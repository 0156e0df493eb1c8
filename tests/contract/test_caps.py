"""What does SetCap change, and what not?"""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb
from gatekeeper_client.v1.gatekeeper_service_pb2 import SetCapRequest

from .refusals import refusal
from .wire import ORGANIZATION, TIMEOUT_S, Wire, agent, beside, campaign, decimals, department, run

EXCESSES = "SELECT kind, amount, reservation_id FROM excesses WHERE organization = %s ORDER BY excess_id"


def test_a_budget_is_what_was_set(wire: Wire, organization: str) -> None:
    """The answer repeats all that was said, with a status and an etag."""
    budget = wire.cap(
        organization,
        "12.5",
        campaign("c"),
        window=budget_pb2.BUDGET_WINDOW_DAY,
        enforcement=budget_pb2.ENFORCEMENT_WARN,
        thresholds=[50, 100, 1000],
        frozen=True,
        reason="Frühjahr — until it is over",
    )
    assert (budget.scope, budget.window) == (campaign("c"), budget_pb2.BUDGET_WINDOW_DAY)
    assert budget.cap == to_money("12.5", "USD") == budget.status.cap
    assert (budget.enforcement, list(budget.thresholds)) == (budget_pb2.ENFORCEMENT_WARN, [50, 100, 1000])
    assert (budget.frozen, budget.status.frozen) == (True, True)
    assert budget.reason == "Frühjahr — until it is over"
    assert budget.etag
    assert budget.HasField("update_time")
    assert decimals(budget.status)[:2] == (0, 0)


def test_little_need_be_said(wire: Wire, organization: str) -> None:
    """A new budget is for the organization, a month, enforced, thawed, with thresholds at 80, 95 and 100."""
    budget = wire.cap(organization, "5")
    assert (budget.scope, budget.window) == (ORGANIZATION, budget_pb2.BUDGET_WINDOW_MONTH)
    assert (budget.enforcement, budget.frozen) == (budget_pb2.ENFORCEMENT_ENFORCE, False)
    assert list(budget.thresholds) == [80, 95, 100]
    assert wire.status(organization).budgets == [budget.status]


@pytest.mark.parametrize(
    "change",
    [
        {"cap": to_money(9, "USD")},
        {"enforcement": budget_pb2.ENFORCEMENT_SHADOW},
        {"thresholds": [7]},
        {"frozen": False},
        {"reason": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_said_stays(wire: Wire, organization: str, change: dict[str, Any]) -> None:
    """Each field can be changed alone; only the reason is that of the last change."""
    before = wire.cap(
        organization, "5", enforcement=budget_pb2.ENFORCEMENT_WARN, thresholds=[1, 2], frozen=True, reason="first"
    )
    request = SetCapRequest(organization=organization, **change)
    after = wire.gatekeeper.SetCap(request, timeout=TIMEOUT_S).budget
    for field in ("cap", "enforcement", "thresholds", "frozen"):
        expected = change[field] if field in change else getattr(before, field)
        assert getattr(after, field) == expected
    assert after.reason == change.get("reason", "")
    assert after.etag != before.etag


@pytest.mark.parametrize("scope", [None, campaign("c"), run("r")], ids=["organization", "campaign", "run"])
def test_capping_opens_an_organization(wire: Wire, organization: str, scope: budget_pb2.Scope | None) -> None:
    """It has the budget that was set then, and the default one for its month beside it."""
    wire.cap(organization, "5", scope, window=budget_pb2.BUDGET_WINDOW_TOTAL)
    caps = [(budget.window, budget.cap.units) for budget in wire.status(organization).budgets]
    assert caps == [(budget_pb2.BUDGET_WINDOW_MONTH, 1000), (budget_pb2.BUDGET_WINDOW_TOTAL, 5)]


def test_a_new_budget_needs_a_cap(wire: Wire, organization: str) -> None:
    """Freezing what is not there is INVALID_ARGUMENT, and opens nothing."""
    before = wire.counts()
    refused = refusal(wire.cap, organization, frozen=True)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert list(refused.violations) == ["cap"]
    assert wire.counts() == before


@pytest.mark.parametrize("kind", ["organization", "department", "campaign", "agent", "run"])
@pytest.mark.parametrize("window", [1, 2, 3], ids=["day", "month", "total"])
def test_what_was_before_counts(wire: Wire, organization: str, kind: str, window: budget_pb2.BudgetWindow) -> None:
    """A budget that is set when money is spent and held already counts both from the start."""
    scopes = {"department": department("x"), "campaign": campaign("x"), "agent": agent("x"), "run": run("x")}
    named = {} if kind == "organization" else {kind: "x"}
    other = {} if kind == "organization" else {kind: "y"}
    wire.commit(wire.hold(organization, "2", **named), "1.5")
    wire.release(wire.hold(organization, "64", **named))
    held = wire.hold(organization, "4", **named)
    if other:
        wire.hold(organization, "32", **other)
    budget = wire.cap(organization, "6", scopes.get(kind), window=window)
    assert decimals(budget.status) == (1.5, 4, 0.5)
    assert wire.deny(organization, "1", **named).reason == pb.DENIAL_REASON_HEADROOM_HELD
    wire.commit(held, "4")
    assert wire.deny(organization, "1", **named).reason == pb.DENIAL_REASON_OUT_OF_BUDGET


def test_lowering_blocks_and_takes_nothing_back(wire: Wire, organization: str) -> None:
    """Below what is used a cap denies, holds live on, and an excess says by how much it was passed."""
    wire.commit(wire.hold(organization, "6"), "6")
    held = wire.hold(organization, "2")
    budget = wire.cap(organization, "5")
    assert decimals(budget.status) == (6, 2, 0)
    assert (budget.status.utilization_percent, budget.status.tier) == (160, budget_pb2.BUDGET_TIER_EXCEEDED)
    assert wire.sql(EXCESSES, organization) == [("CAP_CHANGED", 3, "")]
    assert wire.deny(organization, "0.1").reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    assert not wire.status(organization).can_execute
    assert not wire.commit(held, "2").late
    assert wire.sql(EXCESSES, organization) == [("CAP_CHANGED", 3, "")]
    wire.cap(organization, "4")
    assert wire.sql(EXCESSES, organization)[1:] == [("CAP_CHANGED", 1, "")]


def test_raising_admits_again(wire: Wire, organization: str) -> None:
    """A raised cap counts at once."""
    wire.cap(organization, "1")
    wire.hold(organization, "1")
    wire.deny(organization, "1")
    wire.cap(organization, "2")
    wire.hold(organization, "1")


def test_the_etag_is_checked(wire: Wire, organization: str) -> None:
    """With the etag that is in force a change is made; with an old one it is ABORTED, and names the new one."""
    first = wire.cap(organization, "5")
    second = wire.cap(organization, "6", etag=first.etag)
    before = wire.counts()
    refused = refusal(wire.cap, organization, "7", etag=first.etag)
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert refused.metadata == {"etag": second.etag}
    assert wire.counts() == before
    assert wire.budget(organization).cap.units == 6
    wire.cap(organization, "7", etag=refused.metadata["etag"])


def test_an_etag_of_what_is_not_there(wire: Wire, organization: str) -> None:
    """A new budget matches no etag, and an etag belongs to its own budget; nothing is opened."""
    before = wire.counts()
    assert refusal(wire.cap, organization, "7", etag="1").code == grpc.StatusCode.ABORTED
    assert wire.counts() == before


def test_of_two_admins_at_once_one_wins(wire: Wire, organization: str) -> None:
    """Eight changes from the same etag: one is made, seven are ABORTED."""
    etag = wire.cap(organization, "5").etag
    with beside() as pool:
        calls = [pool.submit(wire.cap, organization, str(number), etag=etag) for number in range(8)]
    made = [call.result() for call in calls if not call.exception()]
    assert len(made) == 1
    assert wire.budget(organization).cap == made[0].cap


def test_another_currency_is_refused(wire: Wire, organization: str) -> None:
    """A cap is in the organization's currency; FAILED_PRECONDITION in another, and nothing is opened."""
    before = wire.counts()
    request = SetCapRequest(organization=organization, cap=to_money(5, "EUR"))
    refused = refusal(wire.gatekeeper.SetCap, request, timeout=TIMEOUT_S)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_MISMATCH")
    assert wire.counts() == before


def test_a_cap_is_set_while_calls_are_made(wire: Wire, organization: str) -> None:
    """Changes and calls take turns at the lock: all of them are made, and the books add up."""
    wire.cap(organization, "1000")
    with beside() as pool:
        holds = [pool.submit(wire.hold, organization, "1") for _ in range(40)]
        caps = [pool.submit(wire.cap, organization, "100", campaign(f"c{n}")) for n in range(10)]
        caps += [pool.submit(wire.cap, organization, str(1000 + n)) for n in range(10)]
    assert all(call.result() for call in holds + caps)
    assert from_money(wire.budget(organization).reserved) == 40
