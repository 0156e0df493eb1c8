"""What must be true of books at any time, whatever was done to them?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

from gatekeeper.domain import alerts, verdicts
from gatekeeper.domain.budget import Enforcement

from .entries import ZERO, Excess
from .kept_books import KeptBooks
from .model import Books
from .stored_books import StoredBooks

AnyBooks = KeptBooks | StoredBooks


def every_balance_is_the_sum_of_its_entries(books: AnyBooks, model: Books) -> None:
    for balance in books.balances.values():
        (kind, scope_id), window, period = balance.key
        budget = (kind.value, scope_id), window.value, period
        assert (balance.reserved, balance.spent) == model.sums(*budget)
        assert balance.overridden == model.overridden(*budget)
        assert balance.excess == sum((e.amount for e in books.excesses if e.key == balance.key), ZERO)


def every_excess_is_what_no_override_has_paid(books: AnyBooks, model: Books) -> None:
    assert Counter(map(_excess, books.excesses)) == Counter(model.excesses)


def _excess(excess: verdicts.Excess) -> Excess:
    """Return an excess in the model's words."""
    (kind, scope_id), window, period = excess.key
    budget = (kind.value, scope_id), window.value
    return Excess(budget, period, excess.kind.value, excess.amount, excess.reservation_id)


def spending_never_exceeds_the_cap_and_what_was_granted(books: AnyBooks, granted: Mapping[str, Decimal]) -> None:
    booked = sum((o.reserved + o.spent for o in books.overrides.values()), ZERO)
    for balance in books.balances.values():
        assert 0 <= balance.overridden <= booked
        if balance.enforcement is Enforcement.ENFORCE:
            assert balance.used <= balance.cap + balance.excess + balance.overridden
            assert balance.used <= balance.cap + balance.excess + sum(granted.values())


def every_override_is_the_sum_of_its_uses(books: AnyBooks, model: Books, granted: Mapping[str, Decimal]) -> None:
    costs: Counter[str] = Counter()
    for execution in books.executions:
        costs[execution.override_id] += execution.override_amount  # type: ignore[assignment]
    for override_id, override in books.overrides.items():
        assert (override.reserved, override.spent) == model.booked(override_id)
        assert 0 <= override.reserved + override.spent <= override.max_amount == granted[override_id]
        assert costs[override_id] == override.spent
    for reservation_id, reservation in books.reservations.items():
        hold, use = model.holds[reservation_id], reservation.override
        assert (use.override_id if use else "", use.amount if use else ZERO) == (hold.paid_by, hold.paid)
        parts = use.parts.items() if use else ()
        found = {((scope.kind.value, scope.id), window.value): part for (scope, window), part in parts if part}
        assert found == {budget: part for budget in model.caps if (part := hold.part(budget))}


def every_crossing_is_told_once(books: AnyBooks) -> None:
    told = Counter((a.kind, a.key, a.basis, a.threshold, a.round, a.subject) for a in books.alerts)
    assert not told or max(told.values()) == 1
    # What is changed of a budget's thresholds is nothing to a period that is over.
    latest = {balance.key[:2]: balance for _, balance in sorted(books.balances.items())}
    assert not any(alerts.is_due(balance) for balance in latest.values())
