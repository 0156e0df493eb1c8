"""Which balances does a call fall under, and how do they change?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from .admission import Admitted, Denied
from .budget import Balance, BalanceKey, Budget, Enforcement, ExcessKind, Scope
from .money import ZERO
from .override_use import OverrideUse, Parts
from .periods import Periods
from .reservation import Attribution, Reservation
from .verdicts import Changes, Excess


class Balances:
    """The budgets and balances that a batch needs of one organization. What changes is in `changes`."""

    def __init__(
        self, budgets: Iterable[Budget], balances: Mapping[BalanceKey, Balance], current: Periods, changes: Changes
    ) -> None:
        """Take what was loaded. `balances` may lack those of the current periods: they stand at zero then."""
        self._balances = dict(balances)
        self._current = current
        self._changes = changes
        self._budgets: dict[Scope, list[Budget]] = {}
        for budget in budgets:
            self._budgets.setdefault(budget.scope, []).append(budget)

    def knows(self, scope: Scope) -> bool:
        """Tell whether a scope has a budget."""
        return scope in self._budgets

    def asked(self, attribution: Attribution, periods: Periods) -> list[Balance]:
        """Return the balances that a call falls under in `periods`.

        In a current period a budget always has a balance, at zero before its first call. In a past period it has one
        only if it stood then: a cap does not reach back.
        """
        asked = []
        for scope in attribution.scopes():
            for budget in self._budgets.get(scope, ()):
                key = BalanceKey(scope, budget.window, periods.of(budget.window))
                balance = self._balances.get(key)
                if balance is None and key.period == self._current.of(budget.window):
                    balance = budget.fresh(key.period)
                if balance is not None:
                    asked.append(balance)
        return asked

    def hold(
        self, balances: Sequence[Balance], amount: Decimal, verdict: Admitted | Denied, parts: Parts
    ) -> list[Balance]:
        """Hold `amount` more in each; `parts` of it are beyond caps, for an override has paid."""
        strained = {balance.key for balance in verdict.strained}
        return [
            self._put(
                balance._replace(
                    reserved=balance.reserved + amount,
                    would_deny_count=balance.would_deny_count + (balance.key in strained),
                    overridden=balance.overridden + parts.get(balance.key[:2], ZERO),
                )
            )
            for balance in balances
        ]

    def beyond(self, held: Reservation, more: Decimal) -> Parts:
        """Return how far each enforced budget of a hold would stand above its cap if `more` than was held is spent.

        Only of `more`: what stands above it already is accounted for.
        """
        over = {
            balance.key[:2]: min(more, balance.used + more - balance.cap)
            for balance in self.asked(held.attribution, held.periods)
            if balance.enforcement is Enforcement.ENFORCE
        }
        return {budget: part for budget, part in over.items() if part > ZERO}

    def settle(
        self, held: Reservation, cost: Decimal, freed: Decimal, kind: ExcessKind, use: OverrideUse | None
    ) -> list[Balance]:
        """Move `cost` to spent and take `freed` from reserved, recording what goes beyond a cap.

        `use` is what the hold's override has paid then.
        """
        settled = []
        for balance in self.asked(held.attribution, held.periods):
            paid_more = ZERO
            if held.override and use:
                budget = balance.key[:2]
                paid_more = use.part(*budget) - held.override.part(*budget)
            after = balance._replace(
                spent=balance.spent + cost,
                reserved=balance.reserved - freed,
                overridden=balance.overridden + paid_more,
            )
            beyond = after.used - after.cap - after.excess - balance.paid_by_overrides - paid_more
            if beyond > ZERO and after.enforcement is Enforcement.ENFORCE:
                self._changes.excesses.append(Excess(after.key, kind, beyond, held.reservation_id))
                after = after._replace(excess=after.excess + beyond)
            settled.append(self._put(after))
        return settled

    def _put(self, balance: Balance) -> Balance:
        self._balances[balance.key] = self._changes.balances[balance.key] = balance
        return balance
