"""How does a series of days go on? By exponential smoothing: a level, a damped trend (Holt), and a season of weekdays.

Each day the level, the trend and the day's season are moved by a part of what the day was off. With `error` for that::

    error  = day - (level + phi * trend + season of the day)
    level  = level + phi * trend + alpha * error
    trend  = phi * trend + alpha * beta * error
    season = season + gamma * error

The trend fades by `phi` a day, so that no forecast runs away. What is smoothed is counted in floats: it is an estimate,
off by more than its last digits whatever they are, and `Decimal` would take thirty times as long. The parameters are
those with the least squared error, looked for on a coarse grid, then around its best points in ever smaller steps: the
same days give the same parameters anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from statistics import fmean
from typing import NamedTuple

WEEK = 7
# Days that the first level and trend are drawn through.
START_DAYS = 10

ALPHAS = (0.05, 0.3, 0.95)
BETAS = (0.0, 0.2, 0.9)
PHIS = (0.85, 0.95)
GAMMAS = (0.05, 0.3)
# How many of the grid's points are looked around: the deepest valley may begin higher than another.
VALLEYS = 3
STEPS = (0.16, 0.08, 0.04, 0.02, 0.01)
LOWEST = (0.001, 0.0, 0.8, 0.0)
HIGHEST = (0.999, 0.999, 0.98, 0.999)


class Smoothing(NamedTuple):
    """By which parts of an error the level, the trend and the season are moved, and what is left of a trend each day.

    Without a season, `gamma` moves nothing.
    """

    alpha: float
    beta: float
    phi: float
    gamma: float = 0.0


class State(NamedTuple):
    """Where a series stands. `season` begins with the next day; it has one entry of 0 where there is none."""

    level: float
    trend: float
    season: tuple[float, ...] = (0.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """How days were smoothed: by what, from which state to which one, and what each day was off."""

    smoothing: Smoothing
    start: State
    end: State
    errors: Sequence[float]

    @property
    def parameters(self) -> int:
        """How much of the days was used up to fit: what is left of them tells how good the fit is."""
        season = len(self.end.season)
        return 5 + (season if season > 1 else 0)

    @property
    def variance(self) -> float:
        """How far off a day is, squared, on average."""
        return sum(error * error for error in self.errors) / max(1, len(self.errors) - self.parameters)

    def ahead(self, days: int) -> list[float]:
        """Return the days to come."""
        level, trend, season = self.end
        ahead = []
        for index in range(days):
            trend *= self.smoothing.phi
            level += trend
            ahead.append(level + season[index % len(season)])
        return ahead

    def deviation_of_sum(self, days: int) -> float:
        """Return the standard deviation of the sum of the days to come.

        What one of them is off moves all that follow: the first one counts for the most.
        """
        alpha, beta, phi, gamma = self.smoothing
        season = len(self.end.season)
        # What an error adds to the sum: 1 on its own day, and what it has moved on each later one.
        weight, fading, total = 1.0, 0.0, 0.0
        for distance in range(1, days + 1):
            total += weight * weight
            fading = phi * (1 + fading)
            weight += alpha * (1 + beta * fading) + (gamma if season > 1 and distance % season == 0 else 0.0)
        return sqrt(self.variance * total)


def fit(days: Sequence[float], season: int) -> Fitted:
    """Smooth days, the oldest first, by the parameters that suit them best; `season` is 7, or 1 for none."""
    start = first_state(days, season)

    def off(point: Sequence[float]) -> float:
        return _squared_error(days, Smoothing(*point), start)

    grid = sorted(product(ALPHAS, BETAS, PHIS, GAMMAS if season > 1 else (0.0,)), key=off)
    best = min((_refined(point, off, 4 if season > 1 else 3) for point in grid[:VALLEYS]), key=off)
    return smoothed(days, Smoothing(*best), start)


def _refined(point: Sequence[float], off: Callable[[Sequence[float]], float], parameters: int) -> Sequence[float]:
    """Return the best point that smaller and smaller steps from one lead to, a parameter at a time."""
    best, least = point, off(point)
    for step in STEPS:
        for index in range(parameters):
            for change in (-step, step):
                moved = [*best]
                moved[index] = min(HIGHEST[index], max(LOWEST[index], moved[index] + change))
                if (found := off(moved)) < least:
                    best, least = moved, found
    return best


def first_state(days: Sequence[float], season: int) -> State:
    """Return where a series stood before its first day: its weekdays apart, on the line through its first days."""
    weeks = [days[first : first + season] for first in range(0, len(days) - season + 1, season)]
    apart = [[day - fmean(week) for day in week] for week in weeks]
    seasons = tuple(map(fmean, zip(*apart, strict=True)))
    first = [day - seasons[index % season] for index, day in enumerate(days[:START_DAYS])]
    middle, mean = (len(first) + 1) / 2, fmean(first)
    offsets = [position - middle for position in range(1, len(first) + 1)]
    spread = sum(offset * offset for offset in offsets)
    trend = sum(offset * day for offset, day in zip(offsets, first, strict=True)) / spread if spread else 0.0
    return State(mean - trend * middle, trend, seasons)


def smoothed(days: Sequence[float], smoothing: Smoothing, start: State) -> Fitted:
    """Smooth days, the oldest first, by given parameters."""
    alpha, beta, phi, gamma = smoothing
    level, trend, (*season,) = start
    errors = []
    for index, day in enumerate(days):
        trend *= phi
        level += trend
        error = day - level - season[index % len(season)]
        level += alpha * error
        trend += alpha * beta * error
        season[index % len(season)] += gamma * error
        errors.append(error)
    turned = len(days) % len(season)
    end = State(level, trend, (*season[turned:], *season[:turned]))
    return Fitted(smoothing=smoothing, start=start, end=end, errors=errors)


def _squared_error(days: Sequence[float], smoothing: Smoothing, start: State) -> float:
    """Return the sum of squared errors: what `smoothed` does, hundreds of times, in as few steps as it takes."""
    alpha, beta, phi, gamma = smoothing
    level, trend, season = start.level, start.trend, list(start.season)
    length, total, index = len(season), 0.0, 0
    for day in days:
        trend *= phi
        level += trend
        error = day - level - season[index]
        total += error * error
        moved = alpha * error
        level += moved
        trend += beta * moved
        season[index] += gamma * error
        index = index + 1 if index + 1 < length else 0
    return total
