"""What does each campaign or department cost, with its share of what several use?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from gatekeeper.domain.budget import ScopeKind
from gatekeeper.domain.cost_splits import Attributed, SplitRule, attribute, demand_sound
from gatekeeper.domain.money import ZERO
from gatekeeper.domain.organization import Organization
from gatekeeper.storage.connections import Pool
from gatekeeper.storage.cost_splits import add_up_shared

from .months import reading


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCosts:
    """A month's cost by whom it is borne: all that was recorded before `read_time`."""

    organization: Organization
    entries: Sequence[Attributed]
    read_time: datetime

    @property
    def cost(self) -> Decimal:
        """What all of it cost."""
        return sum((entry.cost for entry in self.entries), ZERO)


class CostSplits:
    """Reads by a pool of its own, so that no sum holds up the hot path."""

    def __init__(self, reads: Pool) -> None:
        """Read by this pool."""
        self._reads = reads

    async def attribute(
        self, organization: str, period: str, kind: ScopeKind, rules: Sequence[SplitRule], as_of: datetime | None
    ) -> SplitCosts:
        """Return a month's cost by campaign or department (`kind`), what is shared split by rules.

        Raises `OrganizationNotFound`, `PeriodNotOver` or `InvalidField`.
        """
        demand_sound(rules)
        async with reading(self._reads, organization, period, as_of=as_of) as month:
            costs = await add_up_shared(
                month.connection,
                organization,
                month.recorded(),
                rules,
                column=kind.lower(),
                begin=month.bounds.start,
            )
        entries = attribute(rules, costs.own, costs.shared)
        return SplitCosts(organization=month.organization, entries=entries, read_time=month.read_time)
