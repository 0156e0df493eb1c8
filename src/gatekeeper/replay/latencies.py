"""How long did calls take? Percentiles of any number of calls in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

BUCKETS_PER_DOUBLING: Final = 64  # each 1.1 % wider than the one before it
SHORTEST_S: Final = 1e-6
MS_PER_S: Final = 1000


class Latencies:
    """Counts of latencies by size."""

    def __init__(self) -> None:
        """Start with none."""
        self._counts: Counter[int] = Counter()
        self._max_s = 0.0

    def add(self, latency_s: float) -> None:
        """Count one."""
        self._counts[math.floor(math.log2(max(latency_s, SHORTEST_S)) * BUCKETS_PER_DOUBLING)] += 1
        self._max_s = max(self._max_s, latency_s)

    def max_ms(self) -> float:
        """Return the longest in milliseconds, exactly; 0 where there are none."""
        return self._max_s * MS_PER_S

    def percentile_ms(self, percent: float) -> float:
        """Return what `percent` of the calls did not exceed, at most 1.1 % too much; 0 where there are none."""
        rank = math.ceil(self._counts.total() * percent / 100)
        for bucket in sorted(self._counts):
            rank -= self._counts[bucket]
            if rank <= 0:
                return min(2 ** ((bucket + 1) / BUCKETS_PER_DOUBLING), self._max_s) * MS_PER_S
        return 0.0

    def report(self) -> dict[str, float]:
        """Return what a summary shows of them, in milliseconds."""
        return {f"p{percent}": round(self.percentile_ms(percent), 3) for percent in (50, 95, 99)} | {
            "max": round(self.max_ms(), 3)
        }
