"""What does a call cost, in the organization's currency?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from . import errors
from .billing import Cost
from .commands import Money, Tokens
from .organization import Organization
from .prices import PriceList
from .reservation import Reservation


@dataclass(frozen=True, slots=True)
class Costing:
    """The prices that hold for an organization at an instant."""

    organization: Organization
    prices: PriceList
    now: datetime

    def estimate(self, estimate: Money | Tokens, agent_type: str) -> tuple[Decimal | None, str]:
        """Return what a call may cost at most, and by which price book. None: nobody knows."""
        if isinstance(estimate, Money):
            return self.amount(estimate), ""
        priced = self.prices.estimate(model=estimate.model, agent_type=agent_type, tokens=estimate.counts, at=self.now)
        return (None, "") if priced is None else (priced.amount, priced.price_version)

    def cost(self, cost: Money | Tokens, held: Reservation) -> Cost:
        """Return what a reservation's call has cost. Raises `UnpricedModel`."""
        if isinstance(cost, Money):
            return Cost(self.amount(cost), held.model)
        model = cost.model or held.model
        priced = self.prices.settle(
            model=model, agent_type=held.attribution.agent_type, tokens=cost.counts, at=self.now
        )
        if priced is None:
            raise errors.UnpricedModel(model=model)
        return Cost(priced.amount, model, priced.price_version)

    def amount(self, money: Money) -> Decimal:
        """Return an amount in the organization's currency. Raises `CurrencyMismatch`."""
        self.demand_currency(money.currency)
        return money.amount

    def demand_currency(self, currency: str) -> None:
        """Raise `CurrencyMismatch` for another currency than the organization's."""
        if currency and currency != self.organization.currency:
            raise errors.CurrencyMismatch(
                organization=self.organization.organization, currency=self.organization.currency, given=currency
            )
