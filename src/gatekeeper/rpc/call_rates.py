"""Does a caller call too often?"""

from __future__ import annotations

from gatekeeper.domain import errors

# How much of its rate a caller may use at once after a pause.
BURST_S = 1.0


class CallRates:
    """The rate of each caller, by the generic cell rate algorithm: one number for each.

    The number is when the caller would have used up what it may do so far, had it called evenly. It may lie ahead of
    now by BURST_S. With a rate of 100 a second, a hundred calls at once are fine, and after them one every 10 ms.
    """

    def __init__(self, per_s: float) -> None:
        """Let each caller call `per_s` times a second."""
        self._interval_s = 1 / per_s
        self.rate = f"{per_s:g}"
        self._ahead = max(BURST_S - self._interval_s, 0)
        self._used_up_at: dict[str, float] = {}

    def count(self, caller_id: str, now_s: float) -> None:
        """Count a call at `now_s` (monotonic). Raises `RateLimited` for one too many, which does not count."""
        if self.is_used_up(caller_id, now_s):
            raise errors.RateLimited(rate=self.rate)
        self._used_up_at[caller_id] = max(self._used_up_at.get(caller_id, now_s), now_s) + self._interval_s

    def is_used_up(self, caller_id: str, now_s: float) -> bool:
        """Tell whether a call at `now_s` would be one too many."""
        return self._used_up_at.get(caller_id, now_s) - now_s > self._ahead
