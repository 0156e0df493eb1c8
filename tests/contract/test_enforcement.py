"""What do budgets do that warn, only watch, or are frozen?"""

from __future__ import annotations

import pytest

from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb

from .wire import Wire, campaign, decimals

ENFORCE, WARN, SHADOW = (
    budget_pb2.ENFORCEMENT_ENFORCE,
    budget_pb2.ENFORCEMENT_WARN,
    budget_pb2.ENFORCEMENT_SHADOW,
)
EXCESSES = "SELECT kind, amount, reservation_id FROM excesses WHERE organization = %s ORDER BY excess_id"


@pytest.mark.parametrize(("enforcement", "would_deny"), [(WARN, False), (SHADOW, True)], ids=["warn", "shadow"])
def test_a_soft_budget_admits_and_counts(
    wire: Wire, organization: str, enforcement: budget_pb2.Enforcement, would_deny: bool
) -> None:
    """WARN and SHADOW admit beyond the cap and count it; only SHADOW says so on the reservation."""
    wire.cap(organization, "1", campaign("c"), enforcement=enforcement)
    assert not wire.hold(organization, "1", campaign="c").would_deny
    assert wire.budget(organization, campaign("c")).would_deny_count == 0
    assert wire.hold(organization, "2", campaign="c").would_deny == would_deny
    status = wire.budget(organization, campaign("c"))
    assert (decimals(status), status.would_deny_count) == ((0, 3, 0), 1)
    assert (status.tier, status.utilization_percent) == (budget_pb2.BUDGET_TIER_EXCEEDED, 300)
    assert wire.status(organization, campaign("c")).can_execute


@pytest.mark.parametrize("soft", [WARN, SHADOW], ids=["warn", "shadow"])
def test_a_soft_budget_does_not_soften_others(wire: Wire, organization: str, soft: budget_pb2.Enforcement) -> None:
    """An enforced budget beside a soft one denies, and then the soft one counts nothing."""
    wire.cap(organization, "1", campaign("c"), enforcement=soft)
    wire.cap(organization, "2")
    assert wire.deny(organization, "3", campaign="c").budget.scope.kind == budget_pb2.SCOPE_KIND_ORGANIZATION
    assert wire.budget(organization, campaign("c")).would_deny_count == 0


def test_would_deny_is_kept(wire: Wire, organization: str) -> None:
    """The same Reserve again, and its commit, still say that a SHADOW budget would have denied."""
    wire.cap(organization, "1", enforcement=SHADOW)
    held = wire.hold(organization, "2", reservation_id="same")
    assert wire.hold(organization, "2", reservation_id="same").would_deny
    assert wire.commit(held, "2").reservation.would_deny
    assert wire.budget(organization).would_deny_count == 1


def test_an_extension_would_be_denied_too(wire: Wire, organization: str) -> None:
    """An Extend beyond a SHADOW budget is admitted, counted, and marks the reservation."""
    wire.cap(organization, "1", enforcement=SHADOW)
    held = wire.hold(organization, "1")
    assert not held.would_deny
    extended = wire.extend(held, "2").reservation
    assert extended.would_deny
    assert wire.budget(organization).would_deny_count == 1
    assert wire.commit(held, "2").reservation.would_deny


def test_hardening_blocks_and_explains(wire: Wire, organization: str) -> None:
    """A soft budget that stands above its cap may be enforced: the excess is recorded, and further calls denied."""
    wire.cap(organization, "1", enforcement=WARN)
    held = wire.hold(organization, "3")
    wire.cap(organization, enforcement=ENFORCE)
    assert wire.deny(organization, "1").reason == pb.DENIAL_REASON_HEADROOM_HELD
    assert wire.sql(EXCESSES, organization) == [("CAP_CHANGED", 2, "")]
    wire.release(held)
    wire.hold(organization, "1")


@pytest.mark.parametrize("enforcement", [ENFORCE, WARN, SHADOW], ids=["enforce", "warn", "shadow"])
def test_frozen_is_frozen(wire: Wire, organization: str, enforcement: budget_pb2.Enforcement) -> None:
    """Freezing denies under every enforcement, also what costs nothing; thawing admits again."""
    wire.cap(organization, "1", enforcement=enforcement)
    wire.cap(organization, frozen=True)
    for amount in ("0", "1"):
        assert wire.deny(organization, amount).reason == pb.DENIAL_REASON_BUDGET_FROZEN
    wire.cap(organization, frozen=False)
    wire.hold(organization, "1")


def test_freezing_stops_no_call_that_is_under_way(wire: Wire, organization: str) -> None:
    """Under a frozen budget a hold may be prolonged, committed and released; it may not be raised."""
    first, second = wire.hold(organization), wire.hold(organization)
    wire.cap(organization, frozen=True)
    assert wire.extend(first, "2").denial.reason == pb.DENIAL_REASON_BUDGET_FROZEN
    assert wire.extend(first, "1").HasField("reservation")
    assert not wire.commit(first, "1").late
    assert wire.release(second).reservation.state == pb.RESERVATION_STATE_RELEASED


def test_the_same_again_passes_a_frozen_budget(wire: Wire, organization: str) -> None:
    """A retry gets the answer that it missed, although a new call would be denied."""
    first = wire.hold(organization, "1", reservation_id="same")
    wire.cap(organization, frozen=True)
    assert wire.hold(organization, "1", reservation_id="same") == first
