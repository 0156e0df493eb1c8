"""What has an override paid for in one reservation?"""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.budget import ORGANIZATION, Scope, ScopeKind
from gatekeeper.domain.override_use import OverrideUse
from gatekeeper.domain.periods import Window

CAMPAIGN = Scope(ScopeKind.CAMPAIGN, "spring")
OWN_MONTH, CAMPAIGN_MONTH, CAMPAIGN_DAY = (
    (ORGANIZATION, Window.MONTH),
    (CAMPAIGN, Window.MONTH),
    (CAMPAIGN, Window.DAY),
)
# A hold of 10 that the campaign has room for 4 of, and the organization for 7.
USE = OverrideUse("o", Decimal(6), {CAMPAIGN_MONTH: Decimal(6), OWN_MONTH: Decimal(3)})

nanos = st.integers(0, 10_000_000_000).map(lambda count: Decimal(count).scaleb(-9))
parts = st.dictionaries(st.sampled_from([OWN_MONTH, CAMPAIGN_MONTH, CAMPAIGN_DAY]), nanos)


@pytest.mark.parametrize(
    ("freed", "amount", "left"),
    [
        ("0", "6", {CAMPAIGN_MONTH: "6", OWN_MONTH: "3"}),
        ("2", "4", {CAMPAIGN_MONTH: "4", OWN_MONTH: "1"}),
        ("3", "3", {CAMPAIGN_MONTH: "3"}),
        ("5", "1", {CAMPAIGN_MONTH: "1"}),
        ("6", "0", {}),
        ("10", "0", {}),
    ],
)
def test_what_comes_back_comes_off_the_part_beyond_first(freed: str, amount: str, left: dict[object, str]) -> None:
    """A commit below its hold, and a release, free what was beyond the caps before anything else."""
    assert USE.less(Decimal(freed)) == ("o", Decimal(amount), {key: Decimal(part) for key, part in left.items()})


def test_a_commit_above_the_hold_takes_no_more() -> None:
    """What a commit costs beyond its hold takes nothing back; what of it an override pays is decided elsewhere."""
    assert USE.less(Decimal(-4)) == USE


def test_a_raised_hold_adds_up() -> None:
    """Raising a hold adds to each part, also of a budget that had room before."""
    more = USE.more(Decimal(2), {CAMPAIGN_MONTH: Decimal(2), CAMPAIGN_DAY: Decimal(1)})
    assert more == ("o", 8, {CAMPAIGN_MONTH: 8, OWN_MONTH: 3, CAMPAIGN_DAY: 1})
    assert USE.parts == {CAMPAIGN_MONTH: 6, OWN_MONTH: 3}


def test_a_budget_that_had_room_has_no_part() -> None:
    """Asked for a budget that the hold fitted in, the part is zero."""
    assert USE.part(CAMPAIGN, Window.DAY) == 0
    assert USE.part(CAMPAIGN, Window.MONTH) == 6


@given(first=parts, second=parts, freed=nanos)
def test_parts_never_exceed_what_is_booked(
    first: dict[tuple[Scope, Window], Decimal], second: dict[tuple[Scope, Window], Decimal], freed: Decimal
) -> None:
    """However a hold is raised and settled: no part is negative, and none above what is booked in all."""
    booked, more = max(first.values(), default=Decimal(0)), max(second.values(), default=Decimal(0))
    use = OverrideUse("o", booked, first).more(more, second)
    for left in (use, use.less(freed)):
        assert all(0 <= part <= left.amount for part in left.parts.values())
    assert 0 <= use.less(freed).amount <= use.amount
    released = use.less(booked + more)
    assert not any((released.amount, *released.parts.values()))
