"""What are executions added up to, and what follows from the sums?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from .money import ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Executions, added up.

    `entries` are rows of the billing log; a call that was charged on expiry and committed later has three. Amounts are exact. The sums of scores are of so many calls as have one; so are latencies.
    """

    entries: int = 0
    calls: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    unknown: int = 0
    cost: Decimal = ZERO
    late_amount: Decimal = ZERO
    reserved_amount: Decimal = ZERO
    overage_amount: Decimal = ZERO
    override_amount: Decimal = ZERO
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    conversions: int = 0
    revenue: Decimal = ZERO
    quality_sum: float = 0
    quality_scores: int = 0
    impact_sum: float = 0
    impact_scores: int = 0
    latency_sum: timedelta = timedelta()
    latencies: int = 0


class SpendRow(NamedTuple):
    """What executions of the same kind come to. `key` has the columns that they were grouped by, in their order."""

    key: tuple[str, ...]
    totals: Totals
