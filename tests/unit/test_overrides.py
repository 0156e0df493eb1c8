"""When may an override pay, which of several does, and what does it keep of what it paid?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gatekeeper.domain.admission import UNPRICED, DenialReason, Denied, Lack
from gatekeeper.domain.budget import ORGANIZATION, BalanceKey, Scope, ScopeKind
from gatekeeper.domain.override_use import OverrideUse, Parts
from gatekeeper.domain.overrides import Override, Overrides, OverrideState, Payment
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Attribution

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
CALL = Attribution(department="d", campaign="c", agent="a", run="r")
CAMPAIGN = Scope(ScopeKind.CAMPAIGN, "c")
PARTS: Parts = {(ORGANIZATION, Window.MONTH): Decimal(2)}
TARGETS = {
    "reservation": None,
    "run": Scope(ScopeKind.RUN, "r"),
    "agent": Scope(ScopeKind.AGENT, "a"),
    "campaign": Scope(ScopeKind.CAMPAIGN, "c"),
    "department": Scope(ScopeKind.DEPARTMENT, "d"),
    "organization": ORGANIZATION,
}


def override(
    override_id: str = "o",
    scope: Scope | None = ORGANIZATION,
    *,
    max_amount: str = "10",
    state: OverrideState = OverrideState.ACTIVE,
    expires_at: datetime = NOON + timedelta(hours=1),
) -> Override:
    """Return an override that pays for the call `i` where it has no scope."""
    return Override(
        override_id=override_id,
        scope=scope,
        reservation_id="i" if scope is None else "",
        max_amount=Decimal(max_amount),
        ttl=timedelta(hours=1),
        state=state,
        created_at=NOON - timedelta(hours=1),
        expires_at=expires_at,
        reason="why",
    )


def lacking(shortfall: str, *, scope: Scope = ORGANIZATION, room_above: str = "0") -> Lack:
    """Return what a month's budget lacks; `room_above` is what lies between the limit of the call and the cap."""
    lack = Decimal(shortfall)
    return Lack(BalanceKey(scope, Window.MONTH, "2026-11"), lack, lack - Decimal(room_above))


def payment_of(
    *found: Override, amount: str = "1", named: str = "", call: Attribution = CALL, lacks: tuple[Lack, ...] = ()
) -> Payment | None:
    """Return how the call `i` is paid for, which lacks all of its amount unless told otherwise."""
    denied = Denied(DenialReason.OUT_OF_BUDGET, lacks=lacks or (lacking("1000"),))
    return Overrides(found, NOON).payment(denied, call, "i", Decimal(amount), named)


def payer_of(*found: Override, amount: str = "1", named: str = "", call: Attribution = CALL) -> str | None:
    """Return which override pays for the call `i`, all of which is beyond the cap."""
    payment = payment_of(*found, amount=amount, named=named, call=call)
    return payment.payer.override_id if payment else None


def booked(overrides: Overrides, amount: str, known: OverrideUse | None = None) -> OverrideUse:
    """Book a payment for the call `i`, which lacks all of its amount."""
    denied = Denied(DenialReason.OUT_OF_BUDGET, lacks=(lacking("1000"),))
    payment = overrides.payment(denied, CALL, "i", Decimal(amount))
    assert payment is not None
    overrides.book(payment)
    return payment.use(known)


def test_the_largest_part_is_paid() -> None:
    """Of a hold of 10 that lacks 6 in one budget and 3 in another, the override pays 6."""
    payment = payment_of(override(), amount="10", lacks=(lacking("3"), lacking("6", scope=CAMPAIGN)))
    assert payment is not None
    assert payment[1:] == (6, {(ORGANIZATION, Window.MONTH): 3, (CAMPAIGN, Window.MONTH): 6})
    assert payment.use() == ("o", *payment[1:])


def test_no_more_than_the_hold_is_paid() -> None:
    """Where a budget stands far above its cap already, the override pays the whole hold and not more."""
    payment = payment_of(override(), amount="7", lacks=(lacking("50"),))
    assert payment is not None
    assert payment[1:] == (7, {(ORGANIZATION, Window.MONTH): 7})


def test_a_hold_of_nothing_costs_an_override_nothing() -> None:
    """A call that holds nothing is past a cap that is overdrawn, and takes none of the override."""
    payment = payment_of(override(), amount="0")
    assert payment is not None
    assert payment.amount == 0


@pytest.mark.parametrize(
    ("room_above", "part"), [("2", {}), ("1", {}), ("0.25", {(ORGANIZATION, Window.MONTH): "0.75"})]
)
def test_beyond_a_floor_is_paid_too(room_above: str, part: dict[object, str]) -> None:
    """What is past the floor of a call's priority is paid; only what is past the cap as well is a part beyond it."""
    payment = payment_of(override(), amount="5", lacks=(lacking("1", room_above=room_above),))
    assert payment is not None
    assert payment[1:] == (1, {key: Decimal(beyond) for key, beyond in part.items()})


@pytest.mark.parametrize("denied", [UNPRICED, Denied(DenialReason.BUDGET_FROZEN)])
def test_money_does_not_help_everything(denied: Denied) -> None:
    """Nothing pays for a call without a price, or under a budget that is frozen."""
    assert Overrides([override()], NOON).payment(denied, CALL, "i", Decimal(1)) is None


@pytest.mark.parametrize("target", TARGETS)
def test_an_override_reaches_its_scope(target: str) -> None:
    """It pays for calls of its scope, or of its reservation's id, and for no others."""
    found = override(scope=TARGETS[target])
    assert payer_of(found) == "o"
    denied = Denied(DenialReason.OUT_OF_BUDGET, lacks=(lacking("1"),))
    other = Overrides([found], NOON).payment(denied, Attribution(campaign="k", run="c"), "another", Decimal(1))
    assert (other is not None) == (target == "organization")


def test_an_id_is_not_a_scope() -> None:
    """A campaign's override pays for no agent of the campaign's name."""
    assert payer_of(override(scope=Scope(ScopeKind.CAMPAIGN, "c")), call=Attribution(agent="c")) is None


@pytest.mark.parametrize("state", [state for state in OverrideState if state is not OverrideState.ACTIVE])
def test_only_what_is_on_pays(state: OverrideState) -> None:
    """A request, and what was ended or declined, pays nothing, named or not."""
    found = override(state=state)
    assert payer_of(found) is None
    assert payer_of(found, named="o") is None
    assert payer_of(found, amount="0") is None


def test_its_time_is_over_at_its_end() -> None:
    """It pays until the instant before it ends; then it is EXPIRED, whatever its row says."""
    ending = override(expires_at=NOON + INSTANT)
    ended = override(expires_at=NOON)
    assert (payer_of(ending), payer_of(ended)) == ("o", None)
    assert (ending.state_at(NOON), ended.state_at(NOON)) == (OverrideState.ACTIVE, OverrideState.EXPIRED)
    for state in (OverrideState.ENDED, OverrideState.DECLINED):
        assert replace(ended, state=state).state_at(NOON) is state
    assert replace(ended, state=OverrideState.PENDING).state_at(NOON) is OverrideState.EXPIRED


def test_the_narrowest_pays_first() -> None:
    """A reservation's override comes before its run's, then agent's, campaign's, department's and organization's."""
    found = {name: override(name, scope) for name, scope in TARGETS.items()}
    for name in TARGETS:
        assert payer_of(*reversed(found.values())) == name
        del found[name]
    assert payer_of() is None


def test_of_equals_the_one_that_ends_first_pays() -> None:
    """Of two of one scope the one that is over sooner pays; of two that end at once, that of the lesser id."""
    late, soon = override("a", expires_at=NOON + timedelta(hours=2)), override("b")
    assert payer_of(late, soon) == "b"
    assert payer_of(override("b"), override("a")) == "a"


def test_one_override_pays_all() -> None:
    """Where the narrowest cannot pay all, a broader one does; where none can, none pays a part."""
    narrow, broad = override("narrow", TARGETS["run"], max_amount="2"), override("broad", max_amount="3")
    assert payer_of(narrow, broad, amount="2") == "narrow"
    assert payer_of(narrow, broad, amount="2.000000001") == "broad"
    assert payer_of(narrow, broad, amount="3.000000001") is None


def test_only_the_named_one_pays() -> None:
    """A call that names an override gets that one or none, also where another would pay."""
    narrow, broad = override("narrow", TARGETS["run"]), override("broad", max_amount="3")
    assert payer_of(narrow, broad, named="broad") == "broad"
    assert payer_of(narrow, broad, named="broad", amount="4") is None
    assert payer_of(narrow, broad, named="nobody") is None


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
    assert use == ("o", 5, {(ORGANIZATION, Window.MONTH): 5})
    assert overrides.changed["o"].reserved == 5


def test_what_was_not_touched_is_not_written() -> None:
    """Only overrides that paid, or got something back, have changed; others are known, strangers are not."""
    overrides = Overrides([override("a", expires_at=NOON + timedelta(hours=2)), override("b")], NOON)
    booked(overrides, "1")
    assert list(overrides.changed) == ["b"]
    assert (overrides.knows("a"), overrides.knows("z")) == (True, False)
