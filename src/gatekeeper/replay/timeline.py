"""When does each call start, and to which campaign does it belong? Rules that give the same answer every time.

A file of sessions has no common clock, so one is chosen: session `run` begins `spread_s` * f(run) after the start,
where f(run) is the first 32 bits of SHA-256(run) as a fraction of their largest value. The same bits choose the
campaign. Rows that name no run have no session: they start at their own time, and their line chooses the campaign.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from .rows import Row

BITS_MAX: Final = 0xFFFFFFFF


def bits_of(name: str) -> int:
    """Return the first 32 bits of a name's SHA-256."""
    return int(sha256(name.encode()).hexdigest()[:8], 16)


def session_offset_s(run: str, spread_s: float) -> float:
    """Return when a session begins, in seconds after the start of the replay."""
    return spread_s * bits_of(run) / BITS_MAX if run else 0.0


def group_of(kind: str, row: Row, count: int) -> str:
    """Return `kind`-K with K from 1 to `count`, the same for all rows of a run; empty when there are no groups."""
    return f"{kind}-{1 + bits_of(row.run or str(row.line)) % count}" if count else ""


class _Words(NamedTuple):
    """What many rows have in common."""

    run: str
    agent: str
    agent_type: str
    campaign: str
    department: str
    model: str
    ended: bool


class Timeline:
    """Calls in the order in which they start; some 70 bytes each, so that millions fit in memory."""

    def __init__(self, rows: Iterable[Row], spread_s: float) -> None:
        """Take the rows in; of those that start at once, the first in the file goes first."""
        self._words: dict[_Words, int] = {}
        self._word_numbers = array("q")
        self._counts = array("q")
        self._times_s = array("d")
        starts_s = array("d")
        for row in rows:
            starts_s.append(session_offset_s(row.run, spread_s) + row.start_s)
            self._append(row)
        self._order = array("q", sorted(range(len(starts_s)), key=starts_s.__getitem__))
        self._starts_s = starts_s

    def __len__(self) -> int:
        """Return how many calls there are."""
        return len(self._order)

    def __iter__(self) -> Iterator[tuple[float, Row]]:
        """Yield each call with the seconds between the first start and its own."""
        words = list(self._words)
        for place in self._order:
            yield self._starts_s[place] - self._starts_s[self._order[0]], self._row(place, words)

    def _append(self, row: Row) -> None:
        words = _Words(row.run, row.agent, row.agent_type, row.campaign, row.department, row.model, row.ended)
        self._word_numbers.append(self._words.setdefault(words, len(self._words)))
        self._counts.extend((row.line, row.input_tokens, row.cached_input_tokens, row.output_tokens))
        self._times_s.extend((row.start_s, math.nan if row.latency_s is None else row.latency_s))

    def _row(self, place: int, all_words: list[_Words]) -> Row:
        words = all_words[self._word_numbers[place]]
        line, input_tokens, cached_input_tokens, output_tokens = self._counts[4 * place : 4 * place + 4]
        start_s, latency_s = self._times_s[2 * place : 2 * place + 2]
        return Row(
            **words._asdict(),
            line=line,
            input_tokens=input_tokens,
            cached_input_tokens=cached_input_tokens,
            output_tokens=output_tokens,
            start_s=start_s,
            latency_s=None if math.isnan(latency_s) else latency_s,
        )
