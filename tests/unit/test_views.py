"""What is somebody shown of an organization who has seen it before?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.budget import ORGANIZATION, Balance, BalanceKey, Enforcement, Scope, ScopeKind
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.overrides import Override, OverrideState
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import ExpiryPolicy
from gatekeeper.services.views import Versions, View

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ACME = Organization(
    organization="acme", currency="USD", time_zone="UTC", expiry_policy=ExpiryPolicy.RELEASE, known_scopes=False
)
LAUNCH = Scope(ScopeKind.CAMPAIGN, "launch")
SCOPES = [ORGANIZATION, LAUNCH, *(Scope(ScopeKind.RUN, name) for name in "abc")]


def view(spent: dict[Scope, int], *overrides: Override, period: str = "2026-11") -> View:
    """Return a view of monthly budgets of 10 each."""
    keys = {scope: BalanceKey(scope, Window.MONTH, period) for scope in spent}
    return View(
        organization=ACME,
        is_whole=True,
        balances=[
            Balance(keys[scope], Decimal(10), Enforcement.ENFORCE, frozen=False, spent=Decimal(amount))
            for scope, amount in spent.items()
        ],
        overrides=overrides,
        read_at=NOON,
    )


def override(spent: int = 0) -> Override:
    """Return an override in force."""
    return Override(
        override_id="o",
        scope=ORGANIZATION,
        reservation_id="",
        max_amount=Decimal(5),
        ttl=timedelta(hours=1),
        state=OverrideState.ACTIVE,
        created_at=NOON,
        expires_at=NOON + timedelta(hours=1),
        reason="why",
        spent=Decimal(spent),
    )


def test_only_what_differs_is_new() -> None:
    """The first sight is of everything; then of what has changed since, and an equal view is no new version."""
    versions = Versions()
    first = view({ORGANIZATION: 1, LAUNCH: 1})
    assert versions.take(first)
    assert versions.since(0) == first
    assert not versions.take(view({ORGANIZATION: 1, LAUNCH: 1}))
    assert versions.take(view({ORGANIZATION: 2, LAUNCH: 1}))
    shown = versions.since(1)
    assert (versions.version, shown.is_whole) == (2, False)
    assert [balance.key.scope for balance in shown.balances] == [ORGANIZATION]
    assert versions.since(0).is_whole


def test_overrides_are_always_shown() -> None:
    """A change of them alone is a version, without any budget."""
    versions = Versions()
    versions.take(view({ORGANIZATION: 1}))
    for overrides in ([override()], [override(spent=1)], []):
        assert versions.take(view({ORGANIZATION: 1}, *overrides))
        shown = versions.since(versions.version - 1)
        assert ([*shown.overrides], [*shown.balances]) == (overrides, [])


def test_a_new_period_takes_the_place_of_the_old_one() -> None:
    """It is a change of the same budget."""
    versions = Versions()
    versions.take(view({ORGANIZATION: 1}))
    versions.take(view({ORGANIZATION: 0}, period="2026-12"))
    assert [balance.key.period for balance in versions.since(1).balances] == ["2026-12"]
    assert not versions.since(1).is_whole


def test_what_is_gone_is_told_by_a_snapshot() -> None:
    """Whoever has seen a budget that is not shown any more is shown all that are; afterwards, changes again."""
    versions = Versions()
    versions.take(view({ORGANIZATION: 1, LAUNCH: 1}))
    versions.take(view({ORGANIZATION: 1}))
    versions.take(view({ORGANIZATION: 2}))
    assert versions.since(1).is_whole
    assert [balance.key.scope for balance in versions.since(1).balances] == [ORGANIZATION]
    assert not versions.since(2).is_whole


views = st.dictionaries(st.sampled_from(SCOPES), st.integers(0, 2)).map(view)


@given(st.lists(st.tuples(views, st.booleans()), min_size=1))
def test_whoever_is_shown_what_is_new_knows_it_all(course: list[tuple[View, bool]]) -> None:
    """However often somebody looks, what it was shown adds up to how things stand."""
    versions, known, seen = Versions(), dict[Scope, Balance](), 0
    for newest, looks in [*course, (course[-1][0], True)]:
        versions.take(newest)
        if looks and versions.version > seen:
            shown = versions.since(seen)
            known = {} if shown.is_whole else known
            known |= {balance.key.scope: balance for balance in shown.balances}
            seen = versions.version
        if looks:
            assert known == {balance.key.scope: balance for balance in newest.balances}
