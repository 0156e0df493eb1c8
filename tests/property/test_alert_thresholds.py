"""Is each crossing of a threshold told once, and none left out, however a budget's balance and terms change?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from gatekeeper.domain.alerts import Alert, AlertBasis, AlertKind, crossings, is_due, rearm
from gatekeeper.domain.budget import DEFAULT_THRESHOLDS, ORGANIZATION, Balance, BalanceKey, Enforcement
from gatekeeper.domain.periods import Window

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = BalanceKey(ORGANIZATION, Window.MONTH, "2026-11")
HUNDRED = Decimal(100)
NANO = Decimal("0.000000001")

# Amounts that often stand exactly at a threshold, just below it, or just above it.
edges = st.builds(
    lambda percent, nanos: max(Decimal(0), Decimal(percent) / 10 + nanos * NANO),
    st.sampled_from([0, 1, 50, 79, 80, 90, 95, 96, 100, 101, 150, 1000]),
    st.integers(-1, 1),
)
amounts = edges | st.integers(0, 2_000_000_000_000).map(lambda nanos: nanos * NANO)
caps = st.sampled_from([Decimal(cap) for cap in ("0", "0.000000001", "1", "10", "10", "12.5", "100")])
thresholds = st.lists(st.integers(1, 1000), min_size=1, max_size=5, unique=True).map(sorted).map(tuple)
terms = st.tuples(caps, st.just(DEFAULT_THRESHOLDS) | thresholds)


def at(cap: Decimal, spent: Decimal, reserved: Decimal, marks: Sequence[int] = DEFAULT_THRESHOLDS) -> Balance:
    """Return a balance that nobody was told about."""
    return Balance(KEY, cap, Enforcement.ENFORCE, False, reserved=reserved, spent=spent, thresholds=tuple(marks))


def crossed(balance: Balance, basis: AlertBasis) -> set[int]:
    """Return the thresholds that a balance stands at or above, by their meaning alone."""
    amount = balance.spent if basis is AlertBasis.SPENT else balance.spent + balance.reserved
    return {mark for mark in balance.thresholds if amount and HUNDRED * amount >= mark * balance.cap}


def told(alerts: Sequence[Alert], basis: AlertBasis, kind: AlertKind = AlertKind.THRESHOLD) -> list[int]:
    """Return the thresholds of the alerts of a kind."""
    assert all(alert.kind in {AlertKind.THRESHOLD, AlertKind.RESOLVED} for alert in alerts)
    return [alert.threshold for alert in alerts if (alert.kind, alert.basis) == (kind, basis)]


@dataclass
class Listener:
    """Somebody who hears every alert, and knows after each what stands: whoever is told of 95 % knows of 80 % as well.

    That also of thresholds that are no longer asked for, as long as they are crossed.
    """

    balance: Balance
    heard: list[Alert] = field(default_factory=list)
    standing: dict[AlertBasis, set[int]] = field(default_factory=lambda: {basis: set() for basis in AlertBasis})

    def moved(self, spent: Decimal, reserved: Decimal) -> None:
        """Let the balance be another, as after a batch."""
        self.balance = self.balance._replace(spent=spent, reserved=reserved)
        due, (alerts, marked) = is_due(self.balance), crossings(self.balance, "USD", NOW)
        assert due == bool(alerts)
        assert due or marked == self.balance
        for basis in AlertBasis:
            assert told(alerts, basis) == sorted(crossed(self.balance, basis) - self.standing[basis])
            assert not told(alerts, basis, AlertKind.RESOLVED)
            self.standing[basis] |= crossed(self.balance, basis)
        self.hear(alerts, marked)

    def recapped(self, cap: Decimal, marks: tuple[int, ...]) -> list[Alert]:
        """Let the budget have other terms, as SetCap does."""
        before = self.balance
        alerts, marked = rearm(before._replace(cap=cap, thresholds=marks), before, "USD", NOW)
        if (cap, marks) == (before.cap, before.thresholds):
            assert alerts == []
        else:
            for basis in AlertBasis:
                self.check_recapped(alerts, before, marked, basis)
        self.hear(alerts, marked)
        return alerts

    def check_recapped(self, alerts: Sequence[Alert], before: Balance, marked: Balance, basis: AlertBasis) -> None:
        """Check that what is resolved no longer stands, and that what stands was told or lies below what was."""
        stood, reached = self.standing[basis], crossed(marked, basis)
        stands = crossed(marked._replace(thresholds=(*stood,)), basis)
        assert told(alerts, basis, AlertKind.RESOLVED) == sorted((stood - stands) & {*before.thresholds})
        found = set(told(alerts, basis))
        assert found <= reached - (stands & {*before.thresholds})
        assert all(mark <= max(stands) for mark in reached - found)
        self.standing[basis] = stands | reached

    def hear(self, alerts: Sequence[Alert], marked: Balance) -> None:
        self.heard += alerts
        self.balance = marked
        assert not is_due(marked)
        assert crossings(marked, "USD", NOW) == ([], marked)


@given(start=terms, balances=st.lists(st.tuples(amounts, amounts), max_size=12))
def test_each_threshold_once_a_round(
    start: tuple[Decimal, tuple[int, ...]], balances: list[tuple[Decimal, ...]]
) -> None:
    """As long as a budget stays as it is, each threshold is told once by each basis, when it is first crossed."""
    cap, marks = start
    listener = Listener(at(cap, Decimal(0), Decimal(0), marks))
    ever: dict[AlertBasis, set[int]] = {basis: set() for basis in AlertBasis}
    for spent, reserved in balances:
        listener.moved(spent, reserved)
        for basis in AlertBasis:
            ever[basis] |= crossed(listener.balance, basis)
    for basis in AlertBasis:
        heard = told(listener.heard, basis)
        assert Counter(heard) == Counter(ever[basis])
        event(f"{basis}: {len(heard)} told")


@given(
    start=terms,
    changes=st.lists(
        st.tuples(st.sampled_from(["move", "move", "cap", "terms"]), amounts, amounts, terms), max_size=16
    ),
)
def test_a_changed_budget_is_told_anew(
    start: tuple[Decimal, tuple[int, ...]],
    changes: list[tuple[str, Decimal, Decimal, tuple[Decimal, tuple[int, ...]]]],
) -> None:
    """Whatever changes, no alert is told twice, what is resolved was told and is so, and what stands is known."""
    listener = Listener(at(start[0], Decimal(0), Decimal(0), start[1]))
    for what, spent, reserved, (cap, marks) in changes:
        if what == "move":
            listener.moved(spent, reserved)
        else:
            listener.recapped(cap, listener.balance.thresholds if what == "cap" else marks)
    identities = Counter((a.kind, a.key, a.basis, a.threshold, a.round, a.subject) for a in listener.heard)
    assert not identities or max(identities.values()) == 1


def test_a_budget_of_nothing_is_used_up_by_anything() -> None:
    """Under a cap of zero every threshold is crossed by the first nano, by what is held and by what is spent."""
    assert crossings(at(Decimal(0), Decimal(0), Decimal(0)), "USD", NOW)[0] == []
    held, marked = crossings(at(Decimal(0), Decimal(0), NANO), "USD", NOW)
    assert (told(held, AlertBasis.USED), told(held, AlertBasis.SPENT)) == ([80, 95, 100], [])
    spent, _ = crossings(marked._replace(spent=NANO, reserved=Decimal(0)), "USD", NOW)
    assert (told(spent, AlertBasis.USED), told(spent, AlertBasis.SPENT)) == ([], [80, 95, 100])


def test_holds_come_and_go() -> None:
    """What was told stays told for the period, though holds free the budget and fill it again."""
    first, marked = crossings(at(Decimal(10), Decimal(0), Decimal(9)), "USD", NOW)
    assert told(first, AlertBasis.USED) == [80]
    emptied = marked._replace(reserved=Decimal(0))
    assert crossings(emptied, "USD", NOW) == ([], emptied)
    again, _ = crossings(emptied._replace(reserved=Decimal("9.5")), "USD", NOW)
    assert told(again, AlertBasis.USED) == [95]


def test_a_raised_cap_resolves_and_arms() -> None:
    """At 96 of 100 a cap of 200 resolves 80 and 95 %, by both bases; at 160 of it 80 % is told again, in round 2."""
    _, marked = crossings(at(Decimal(100), Decimal(96), Decimal(0)), "USD", NOW)
    alerts, armed = rearm(marked._replace(cap=Decimal(200)), marked, "USD", NOW)
    assert [(a.kind, a.basis, a.threshold, a.round) for a in alerts] == [
        (AlertKind.RESOLVED, basis, threshold, 1) for basis in AlertBasis for threshold in (80, 95)
    ]
    again, _ = crossings(armed._replace(spent=Decimal(160)), "USD", NOW)
    assert [(a.kind, a.basis, a.threshold, a.round) for a in again] == [
        (AlertKind.THRESHOLD, basis, 80, 2) for basis in AlertBasis
    ]


def test_a_lowered_cap_tells_at_once() -> None:
    """At 50 of 100 a cap of 52 tells 80 and 95 % without waiting for a call."""
    alerts, _ = rearm(at(Decimal(52), Decimal(50), Decimal(0)), at(Decimal(100), Decimal(50), Decimal(0)), "USD", NOW)
    assert told(alerts, AlertBasis.SPENT) == told(alerts, AlertBasis.USED) == [80, 95]


def test_what_stands_is_not_resolved() -> None:
    """Thresholds of 50 and 90 instead of 80 and 95 resolve nothing at 96 %: it is not below 95 %."""
    _, marked = crossings(at(Decimal(100), Decimal(96), Decimal(0), (80, 95)), "USD", NOW)
    alerts, _ = rearm(marked._replace(thresholds=(50, 90)), marked, "USD", NOW)
    assert [alert for alert in alerts if alert.kind is AlertKind.RESOLVED] == []


def test_only_what_no_longer_stands_is_resolved() -> None:
    """At 85 % after 96 %, thresholds of 50 instead of 80 and 95 resolve 95 %; told again is only what stands higher."""
    _, marked = crossings(at(Decimal(100), Decimal(0), Decimal(96), (80, 95)), "USD", NOW)
    alerts, armed = rearm(marked._replace(reserved=Decimal(85), thresholds=(50, 90)), marked, "USD", NOW)
    assert [(alert.kind, alert.basis, alert.threshold) for alert in alerts] == [
        (AlertKind.RESOLVED, AlertBasis.USED, 95)
    ]
    again, _ = crossings(armed._replace(reserved=Decimal(90)), "USD", NOW)
    assert told(again, AlertBasis.USED) == [90]


@pytest.mark.parametrize(
    ("kind", "side"), [(AlertKind.THRESHOLD, "is at or above 80 %"), (AlertKind.RESOLVED, "is below 80 %")]
)
def test_an_alert_says_what_stood(kind: AlertKind, side: str) -> None:
    """It carries the amounts of that time, and a sentence with budget, side, threshold and currency."""
    alerts, marked = crossings(at(Decimal(10), Decimal(8), Decimal("0.5")), "EUR", NOW)
    if kind is AlertKind.RESOLVED:
        alerts, _ = rearm(marked._replace(cap=Decimal(11)), marked, "EUR", NOW)
    alert = next(alert for alert in alerts if alert.kind is kind and alert.basis is AlertBasis.USED)
    assert (alert.spent, alert.reserved, alert.key, alert.occurred_at) == (8, Decimal("0.5"), KEY, NOW)
    assert alert.message == (
        f"The month budget of the organization (2026-11) {side}: 8.50 spent and held of {alert.cap}.00 EUR."
    )
