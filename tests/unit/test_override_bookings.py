"""What is an override booked for a hold, and for what it costs in the end?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gatekeeper.domain.admission import DenialReason, Denied
from gatekeeper.domain.budget import ORGANIZATION
from gatekeeper.domain.override_use import OverrideUse, Parts
from gatekeeper.domain.overrides import Override, Overrides, OverrideState
from gatekeeper.domain.periods import Window
from tests.unit.paying import CAMPAIGN, NOON, lacking, override, paid_in, payer_of

OWN_MONTH, CAMPAIGN_MONTH = (ORGANIZATION, Window.MONTH), (CAMPAIGN, Window.MONTH)
PARTS: Parts = {OWN_MONTH: Decimal(2)}
NOTHING = OverrideUse("o", Decimal(0), {})


def booked(overrides: Overrides, amount: str, known: OverrideUse | None = None) -> OverrideUse:
    """Book a payment for the call `i`, which lacks all of its amount."""
    denied = Denied(DenialReason.OUT_OF_BUDGET, lacks=(lacking("1000"),))
    payment = paid_in(overrides, denied, amount)
    assert payment is not None
    overrides.book(payment)
    return payment.use(known)


def test_what_is_booked_is_gone() -> None:
    """What is held and what is spent both count against the amount, and all of it can be used."""
    overrides = Overrides([override()], NOON)
    for used in range(2, 11, 2):
        assert booked(overrides, "2").amount == 2
        assert overrides.changed["o"].remaining == 10 - used
    assert payer_of(overrides.changed["o"], amount="0.000000001") is None
    assert payer_of(replace(overrides.changed["o"], reserved=Decimal(0), spent=Decimal(10))) is None


def test_a_commit_books_the_cost() -> None:
    """What a hold of 6 has cost in the end, 1, is spent; the other 5 can be used again."""
    overrides = Overrides([override()], NOON)
    before = booked(overrides, "6")
    overrides.settle(before, before.less(Decimal(5)), was_held=True)
    changed = overrides.changed["o"]
    assert (changed.reserved, changed.spent, changed.remaining) == (0, 1, 9)


def test_a_release_gives_all_back() -> None:
    """After a release, or an expiry that charges nothing, the override is as before."""
    overrides = Overrides([override()], NOON)
    before = booked(overrides, "6")
    overrides.settle(before, before.less(Decimal(6)), was_held=True)
    assert overrides.changed["o"] == override()


def test_a_late_commit_replaces_the_charge() -> None:
    """Of an expiry that charged 6 and a late commit that gives 2 back, 4 is what the override has cost."""
    overrides = Overrides([override()], NOON)
    before = booked(overrides, "6")
    overrides.settle(before, before, was_held=True)
    charged = overrides.changed["o"]
    assert (charged.reserved, charged.spent) == (0, 6)
    overrides.settle(before, before.less(Decimal(2)), was_held=False)
    assert (overrides.changed["o"].reserved, overrides.changed["o"].spent) == (0, 4)


def test_what_is_over_is_still_settled() -> None:
    """A hold under an override that was ended since is settled against it; it pays for nothing new."""
    ended = replace(override(state=OverrideState.ENDED), reserved=Decimal(6))
    overrides = Overrides([ended], NOON)
    before = OverrideUse("o", Decimal(6), PARTS)
    overrides.settle(before, before.less(Decimal(2)), was_held=True)
    changed = overrides.changed["o"]
    assert (changed.reserved, changed.spent) == (0, 4)
    assert payer_of(changed) is None


def test_a_raised_hold_is_one_use() -> None:
    """What an Extend books adds to what is booked for the hold."""
    overrides = Overrides([override()], NOON)
    use = booked(overrides, "3", booked(overrides, "2"))
    assert use == ("o", 5, {OWN_MONTH: 5})
    assert overrides.changed["o"].reserved == 5


def test_what_was_not_touched_is_not_written() -> None:
    """Only overrides that paid, or got something back, have changed; others are known, strangers are not."""
    overrides = Overrides([override("a", expires_at=NOON + timedelta(hours=2)), override("b")], NOON)
    booked(overrides, "1")
    assert list(overrides.changed) == ["b"]
    assert (overrides.knows("a"), overrides.knows("z")) == (True, False)


@pytest.mark.parametrize(
    ("beyond", "amount", "parts"),
    [
        ({}, 0, {}),
        ({OWN_MONTH: "3"}, 3, {OWN_MONTH: 3}),
        ({OWN_MONTH: "1", CAMPAIGN_MONTH: "3"}, 3, {OWN_MONTH: 1, CAMPAIGN_MONTH: 3}),
        ({OWN_MONTH: "10"}, 10, {OWN_MONTH: 10}),
        ({OWN_MONTH: "9", CAMPAIGN_MONTH: "30"}, 10, {OWN_MONTH: 9, CAMPAIGN_MONTH: 10}),
    ],
    ids=["in the budget", "one", "two", "all that is left", "more than is left"],
)
def test_a_cost_beyond_the_hold_is_paid(
    beyond: Mapping[tuple[object, Window], str], amount: int, parts: Mapping[object, int]
) -> None:
    """The largest part beyond a cap is paid once, of each budget its own part, and never more than is left."""
    more: Parts = {budget: Decimal(part) for budget, part in beyond.items()}  # type: ignore[misc]
    assert Overrides([override()], NOON).overage(NOTHING, more) == ("o", amount, parts)


def test_a_cost_beyond_the_hold_adds_to_what_is_booked() -> None:
    """Of an override of 10, 6 are held; a cost of 5 more leaves 4 to pay, and with it nothing to give out."""
    overrides = Overrides([override()], NOON)
    before = booked(overrides, "6")
    after = overrides.overage(before, {OWN_MONTH: Decimal(5)})
    assert after == ("o", 10, {OWN_MONTH: 10})
    assert overrides.overage(before, {OWN_MONTH: Decimal(5)}) == after
    overrides.settle(before, after, was_held=True)
    changed = overrides.changed["o"]
    assert (changed.reserved, changed.spent, changed.remaining) == (0, 10, 0)
    assert overrides.overage(NOTHING, {OWN_MONTH: Decimal(1)}) == NOTHING
    assert payer_of(changed, amount="0") is None


@pytest.mark.parametrize(
    "found",
    [
        None,
        override("another"),
        override(expires_at=NOON),
        override(state=OverrideState.ENDED),
        replace(override(), spent=Decimal(10)),
    ],
    ids=["none", "another", "expired", "ended", "used up"],
)
def test_what_is_over_pays_no_cost(found: Override | None) -> None:
    """Nothing pays for what a call costs beyond its hold but the hold's own override while it is in force."""
    overrides = Overrides([found] if found else [], NOON)
    use = OverrideUse("o", Decimal(2), PARTS)
    assert overrides.overage(use, {OWN_MONTH: Decimal(1)}) == use
