"""What does it mean to overrides and caps that a call has cost more, or a cap is less? In the plain model's words."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from .entries import ZERO, Budget, Excess, Hold, Payment

if TYPE_CHECKING:
    from .entries import Cap
    from .model import Books


def record(books: Books, reservation_id: str, cost: Decimal, now: datetime) -> None:
    """Commit a hold: its override pays what goes beyond caps, and what is left of that is an excess."""
    hold = books.holds[reservation_id]
    late = hold.state != "HELD"
    caps = enforced(books, hold)
    stood = {budget: books.above(budget, hold.period(budget[1]), cap) for budget, cap in caps.items()}
    hold.overage = overage(books, hold, cost - (hold.charged if late else hold.amount), now)
    hold.committed = cost
    if not late:
        hold.state = "COMMITTED"
    for budget, cap in caps.items():
        period = hold.period(budget[1])
        rise = books.above(budget, period, cap) - max(ZERO, stood[budget])
        excess = rise - hold.overage.parts.get(budget, ZERO)
        if excess > ZERO:
            kind = "LATE_COMMIT" if late else "OVERAGE"
            books.excesses.append(Excess(budget, period, kind, excess, reservation_id))


def overage(books: Books, hold: Hold, more: Decimal, now: datetime) -> Payment:
    """Return what a hold's override pays of `more` than was held or charged: what goes beyond caps, if it still can."""
    override = books.overrides.get(hold.paid_by)
    if override is None or not override.is_in_force(now):
        return Payment()
    beyond = {
        budget: min(more, sum(books.sums(*budget, hold.period(budget[1])), ZERO) + more - cap)
        for budget, cap in enforced(books, hold).items()
    }
    most = max(ZERO, min(books.left(override), max(beyond.values(), default=ZERO)))
    return Payment(
        payer=hold.paid_by, amount=most, parts={budget: max(ZERO, min(most, part)) for budget, part in beyond.items()}
    )


def enforced(books: Books, hold: Hold) -> dict[Budget, Decimal]:
    """Return the caps that a hold is under and that count."""
    terms = {budget: books.cap_in(*budget, hold.period(budget[1])) for budget in books.caps if budget[0] in hold.scopes}
    return {budget: found.cap for budget, found in terms.items() if found and found.enforcement == "ENFORCE"}


def recap(books: Books, budget: Budget, terms: Cap) -> None:
    """Set a budget: what stands above its cap then is an excess, but for what an override had paid for already."""
    before = books.cap_in(*budget, terms.since)
    stood = books.above(budget, terms.since, before.cap) if before else ZERO
    paid = min(books.overridden(*budget, terms.since), max(ZERO, stood))
    books.caps.setdefault(budget, []).append(terms)
    excess = books.above(budget, terms.since, terms.cap) - paid
    if terms.enforcement == "ENFORCE" and excess > ZERO:
        books.excesses.append(Excess(budget, terms.since, "CAP_CHANGED", excess))
