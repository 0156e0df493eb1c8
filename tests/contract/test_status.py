"""What does GetStatus tell?"""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest

from gatekeeper_client.v1 import budget_pb2

from .refusals import refusal
from .wire import ORGANIZATION, Wire, agent, beside, campaign, decimals, department, run

OK, WARNING, CRITICAL, EXCEEDED = (
    budget_pb2.BUDGET_TIER_OK,
    budget_pb2.BUDGET_TIER_WARNING,
    budget_pb2.BUDGET_TIER_CRITICAL,
    budget_pb2.BUDGET_TIER_EXCEEDED,
)


def test_it_creates_nothing(wire: Wire, organization: str) -> None:
    """An organization that nobody opened is NOT_FOUND, and stays so."""
    before = wire.counts()
    refused = refusal(wire.status, organization)
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    assert refused.metadata == {"organization": organization}
    wire.cap(f"{organization}2", "1")
    before = wire.counts()
    wire.status(f"{organization}2", campaign("c"))
    assert wire.counts() == before


def test_it_takes_no_lock(wire: Wire, organization: str) -> None:
    """It answers while somebody holds the lock on the books."""
    wire.cap(organization, "1")
    with wire.locked(organization):
        assert wire.status(organization).can_execute


def test_a_budget_shows_all_its_figures(wire: Wire, organization: str) -> None:
    """Cap, spent, reserved, available, utilization, tier, enforcement and frozen, of the current period."""
    wire.cap(organization, "8", campaign("c"), enforcement=budget_pb2.ENFORCEMENT_WARN, frozen=False)
    wire.commit(wire.hold(organization, "2", campaign="c"), "1")
    wire.hold(organization, "0.5", campaign="c")
    status = wire.budget(organization, campaign("c"))
    assert (status.window, status.period) == (budget_pb2.BUDGET_WINDOW_MONTH, f"{datetime.now(UTC):%Y-%m}")
    assert (status.cap.units, status.cap.currency_code) == (8, "USD")
    assert decimals(status) == (1, 0.5, 6.5)
    assert (status.utilization_percent, status.tier) == (18.75, OK)
    assert (status.enforcement, status.frozen) == (budget_pb2.ENFORCEMENT_WARN, False)


@pytest.mark.parametrize("spent", [True, False], ids=["spent", "reserved"])
@pytest.mark.parametrize(
    ("used", "tier"),
    [
        ("0", OK),
        ("79.999999999", OK),
        ("80", WARNING),
        ("94.999999999", WARNING),
        ("95", CRITICAL),
        ("99.999999999", CRITICAL),
        ("100", EXCEEDED),
    ],
)
def test_the_tiers_begin_exactly(
    wire: Wire, organization: str, used: str, tier: budget_pb2.BudgetTier, spent: bool
) -> None:
    """WARNING from 80 %, CRITICAL from 95 %, EXCEEDED from 100 %, by spent and reserved together."""
    wire.cap(organization, "100")
    held = wire.hold(organization, used)
    if spent:
        wire.commit(held, used)
    status = wire.budget(organization)
    assert status.tier == tier
    assert status.utilization_percent == pytest.approx(float(used), abs=1e-6)
    assert wire.status(organization).can_execute == (tier != EXCEEDED)


def test_every_budget_comes_in_order(wire: Wire, organization: str) -> None:
    """Without scopes every budget is shown: the organization's first, then departments, campaigns, agents, runs."""
    scopes = [ORGANIZATION, department("d"), campaign("a"), campaign("b"), agent("a"), run("r")]
    for scope in reversed(scopes):
        wire.cap(organization, "1", scope)
    assert [budget.scope for budget in wire.status(organization).budgets] == scopes


def test_only_what_was_asked_for_and_the_organization(wire: Wire, organization: str) -> None:
    """With scopes their budgets come beside the organization's own; one without a budget shows nothing."""
    for scope in (campaign("a"), campaign("b"), agent("a")):
        wire.cap(organization, "1", scope)
    shown = wire.status(organization, campaign("a"), agent("unknown"), campaign("a"), ORGANIZATION).budgets
    assert [budget.scope for budget in shown] == [ORGANIZATION, campaign("a")]


def test_whether_a_call_could_pass(wire: Wire, organization: str) -> None:
    """can_execute is about the asked scopes and the organization: a full campaign stops nobody else."""
    wire.cap(organization, "10")
    wire.cap(organization, "1", campaign("full"))
    wire.cap(organization, "1", agent("frozen"), frozen=True)
    wire.cap(organization, "1", department("soft"), enforcement=budget_pb2.ENFORCEMENT_SHADOW)
    wire.hold(organization, "1", campaign="full")
    wire.hold(organization, "2", department="soft")
    assert wire.status(organization).can_execute
    assert wire.status(organization, campaign("other"), department("soft")).can_execute
    assert not wire.status(organization, campaign("full")).can_execute
    assert not wire.status(organization, agent("frozen")).can_execute
    wire.cap(organization, frozen=True)
    assert not wire.status(organization).can_execute


@pytest.mark.parametrize("period", ["2024-02-29", "2020-01", "total", "9999-12-31"])
def test_whether_a_call_could_pass_is_about_now(wire: Wire, organization: str, period: str) -> None:
    """Asked for another period, can_execute still tells of the current ones."""
    wire.cap(organization, "1")
    answer = wire.status(organization, period=period)
    assert answer.can_execute
    assert not answer.budgets
    wire.hold(organization, "1")
    assert not wire.status(organization, period=period).can_execute


def test_a_crowd_never_sees_more_than_the_cap(wire: Wire, organization: str) -> None:
    """While callers reserve, commit and release, spent and reserved together stay within the cap."""
    wire.cap(organization, "5")

    def work(number: int) -> None:
        answer = wire.reserve(organization, "1")
        if answer.HasField("reservation"):
            _ = wire.commit(answer.reservation, "0.5") if number % 2 else wire.release(answer.reservation)

    with beside() as pool:
        calls = [pool.submit(work, number) for number in range(30)]
        while not all(call.done() for call in calls):
            spent, reserved, available = decimals(wire.budget(organization))
            assert spent + reserved + available == 5
    for call in calls:
        call.result()
