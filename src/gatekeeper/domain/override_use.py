"""What has an override paid for in one reservation?

A worked example. A hold of 10.00 that its campaign has room for 4.00 of, and its organization for 7.00::

    campaign      part beyond the cap  6.00
    organization  part beyond the cap  3.00      the override is booked 6.00, the larger of them

Its commit costs 5.00. What comes back, 5.00, comes off the parts beyond the caps first: the campaign's part is 1.00
then, the organization's 0.00, and the override has cost 1.00.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from .budget import Scope
from .money import ZERO
from .periods import Window

Parts = Mapping[tuple[Scope, Window], Decimal]


class OverrideUse(NamedTuple):
    """What an override is booked for a hold or its cost: `amount`, and the part beyond the cap of each budget."""

    override_id: str
    amount: Decimal
    parts: Parts

    def part(self, scope: Scope, window: Window) -> Decimal:
        """Return what is beyond the cap of one budget."""
        return self.parts.get((scope, window), ZERO)

    def less(self, freed: Decimal) -> OverrideUse:
        """Return what is left when a hold costs `freed` less than it held: that comes off what is beyond the caps."""
        if freed <= ZERO:
            return self
        parts = {budget: part - freed for budget, part in self.parts.items() if part > freed}
        return self._replace(amount=max(ZERO, self.amount - freed), parts=parts)

    def more(self, amount: Decimal, parts: Parts) -> OverrideUse:
        """Return what is booked when a hold is raised by `amount` more beyond the caps."""
        added = {budget: self.parts.get(budget, ZERO) + part for budget, part in parts.items()}
        return self._replace(amount=self.amount + amount, parts={**self.parts, **added})
