"""Is nothing lost or made when a cost is split? Whatever the amounts, the rules and the weights are."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.cost_splits import Attributed, Share, SplitModel, SplitRule, attribute, split
from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.money import EXACT

NANO = Decimal("0.000000001")
IDS = ("", "autumn", "spring", "summer", "winter")

amounts = st.integers(-(10**22), 10**22).map(lambda nanos: Decimal(nanos).scaleb(-9, EXACT))
weights = st.lists(st.integers(0, 10**9), min_size=1, max_size=100).filter(any)
shares = st.lists(
    st.builds(Share, id=st.sampled_from(IDS[1:]), weight=st.integers(0, 10**9)),
    min_size=1,
    unique_by=lambda share: share.id,
)
rules = st.builds(SplitRule, label=st.just("pool"), model=st.sampled_from(SplitModel), shares=shares).filter(
    lambda rule: any(share.weight for share in rule.shares)
)


@given(amount=amounts, weights=weights)
def test_parts_add_up_and_are_fair(amount: Decimal, weights: list[int]) -> None:
    """Parts are whole nanos, add up to the amount, and each is within a nano of what is exactly its due."""
    parts = split(amount, weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        due = Fraction(amount) * weight / sum(weights)
        assert abs(Fraction(part) - due) < Fraction(NANO)
        assert weight or not part


@given(
    asked=st.lists(rules, max_size=4),
    own=st.dictionaries(st.sampled_from(IDS), amounts),
    shared=st.lists(amounts, min_size=4, max_size=4),
)
def test_entries_add_up(asked: list[SplitRule], own: dict[str, Decimal], shared: list[Decimal]) -> None:
    """The entries are the month's cost, own and shared; the dearest comes first, and none is named twice."""
    by_rule = dict(zip(range(len(asked)), shared, strict=False))
    entries = attribute(asked, own, by_rule)
    assert sum(entry.own for entry in entries) == sum(own.values())
    assert sum(entry.shared for entry in entries) == sum(by_rule.values())
    assert sum(entry.cost for entry in entries) == sum(own.values()) + sum(by_rule.values())
    assert [entry.cost for entry in entries] == sorted((entry.cost for entry in entries), reverse=True)
    assert len({entry.id for entry in entries}) == len(entries)


def rule(model: SplitModel, **weights: int) -> SplitRule:
    return SplitRule(label="pool", model=model, shares=[Share(id=name, weight=w) for name, w in weights.items()])


def test_proportional_follows_what_each_costs() -> None:
    """Whoever costs twice as much bears twice as much; where none costs anything, all bear the same."""
    split_rule = rule(SplitModel.PROPORTIONAL, spring=0, autumn=0, winter=0)
    own = {"spring": Decimal(20), "autumn": Decimal(10), "": Decimal(70)}
    assert attribute([split_rule], own, {0: Decimal(9)}) == [
        Attributed(id="", own=Decimal(70)),
        Attributed(id="spring", own=Decimal(20), shared=Decimal(6)),
        Attributed(id="autumn", own=Decimal(10), shared=Decimal(3)),
        Attributed(id="winter"),
    ]
    assert {entry.shared for entry in attribute([split_rule], {}, {0: Decimal(9)})} == {Decimal(3)}


def test_a_rule_matches_by_its_label() -> None:
    """Of one value, or of any where it names none."""
    pool = rule(SplitModel.EVEN, spring=0)
    assert pool.matches({"pool": "x"})
    assert not pool.matches({"other": "x"})
    named = SplitRule(label="pool", value="x", model=SplitModel.EVEN, shares=[])
    assert named.matches({"pool": "x"})
    assert not named.matches({"pool": "y"})


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (rule(SplitModel.WEIGHTED, spring=0, autumn=0), "have no weight"),
        (SplitRule(label="l", model=SplitModel.EVEN, shares=[Share(id="a"), Share(id="a")]), "name 'a' twice"),
        (SplitRule(label="l", model=SplitModel.EVEN, shares=[]), "are empty"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(broken: SplitRule, problem: str) -> None:
    """The field is named, with what to do about it."""
    with pytest.raises(InvalidField, match=problem) as refused:
        attribute([rule(SplitModel.EVEN, spring=0), broken], {}, {})
    assert refused.value.metadata["field"] == "rules[1].shares"
