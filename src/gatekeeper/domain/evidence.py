"""What are recommendations derived from, and what does one say?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from .forecast import Forecast
from .spend import Totals


class RecommendationRule(StrEnum):
    """Which rule a recommendation comes from."""

    CHEAPER_MODEL = "CHEAPER_MODEL"
    OVER_RESERVATION = "OVER_RESERVATION"
    FAILING_AGENT = "FAILING_AGENT"
    CAMPAIGN_EXHAUSTION = "CAMPAIGN_EXHAUSTION"
    EXPIRING_HOLDS = "EXPIRING_HOLDS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What would save money. `names` stand in `text` at {0}, {1}, …, so that each reader can quote them safely.

    `saving` is what it would have saved in the month, or left to others.
    """

    rule: RecommendationRule
    subject: str
    saving: Decimal
    text: str
    names: Sequence[str]

    @property
    def message(self) -> str:
        """Say it in a sentence."""
        return self.text.format(*map(repr, self.names))


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldAccuracy:
    """How well an agent type's calls are estimated. `cost_p95` is what 95 of 100 cost at most.

    `unused` says, in percent of what was held, what of it was not used: in the mean, of the middle call, and at most of
    95 in 100; below zero where a call cost more than was held.
    """

    agent_type: str
    calls: int
    reserved: Decimal
    cost: Decimal
    cost_p95: Decimal
    unused_mean: float
    unused_p50: float
    unused_p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerHolds:
    """How a caller's holds ended: `expired` of `holds`, which held `amount` and were charged `charged` for it.

    `name` is the name of its token, where it has one.
    """

    caller: str
    name: str
    holds: int
    expired: int
    amount: Decimal
    charged: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignOutlook:
    """Where a campaign's month is going: a forecast whose days to come begin with `first_day`."""

    campaign: str
    cap: Decimal
    forecast: Forecast
    first_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What recommendations are derived from. Keys: (agent type, model), and (agent, agent type)."""

    currency: str
    models: Mapping[tuple[str, str], Totals]
    agents: Mapping[tuple[str, str], Totals]
    failed_costs: Mapping[tuple[str, str], Decimal]
    accuracy: Sequence[HoldAccuracy]
    callers: Sequence[CallerHolds]
    outlooks: Sequence[CampaignOutlook]
