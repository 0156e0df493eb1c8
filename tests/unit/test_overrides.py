"""When may an override pay for a call, which of several does, and how much?"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gatekeeper.domain.admission import UNPRICED, DenialReason, Denied
from gatekeeper.domain.budget import ORGANIZATION, Scope, ScopeKind
from gatekeeper.domain.overrides import Overrides, OverrideState
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import Attribution
from tests.unit.paying import CALL, CAMPAIGN, NOON, TARGETS, lacking, override, paid_in, payer_of, payment_of

INSTANT = timedelta(microseconds=1)


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
    """A call that holds nothing is past a cap that is overdrawn, and takes none of the override, but needs some."""
    payment = payment_of(override(max_amount="0.000000001"), amount="0")
    assert payment is not None
    assert payment.amount == 0
    assert payer_of(replace(override(), reserved=Decimal(4), spent=Decimal(6)), amount="0") is None


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
    assert paid_in(Overrides([override()], NOON), denied) is None


@pytest.mark.parametrize("target", TARGETS)
def test_an_override_reaches_its_scope(target: str) -> None:
    """It pays for calls of its scope, or of its reservation's id, and for no others."""
    found = override(scope=TARGETS[target])
    assert payer_of(found) == "o"
    assert found.reaches(Attribution(campaign="k", run="c"), "another") == (target == "organization")


@pytest.mark.parametrize(
    ("bound", "requester", "caller", "call", "reaches"),
    [
        ((), "7", "7", CALL, True),
        ((), "7", "8", CALL, False),
        ((), "7", "", CALL, False),
        ((), "", "8", CALL, True),
        (None, "7", "8", CALL, True),
        ((CAMPAIGN, Scope(ScopeKind.RUN, "r")), "7", "7", CALL, True),
        ((CAMPAIGN, Scope(ScopeKind.RUN, "x")), "7", "7", CALL, False),
        ((CAMPAIGN,), "7", "7", Attribution(agent="c"), False),
        ((CAMPAIGN,), "", "8", Attribution(), False),
    ],
)
def test_a_request_is_for_its_call(
    bound: tuple[Scope, ...] | None, requester: str, caller: str, call: Attribution, reaches: bool
) -> None:
    """Of whoever has asked, for what it was asked; where it is bound to nothing, of anybody, for anything."""
    found = replace(override(scope=None), bound_scopes=bound, requested_by_id=requester)
    assert found.reaches(call, "i", caller) == reaches
    assert not found.reaches(call, "another", caller)


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
