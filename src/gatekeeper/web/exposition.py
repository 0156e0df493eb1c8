"""What does Prometheus read? All that was counted, and how things stand right now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import generate_latest
from prometheus_client.core import Metric

from gatekeeper.metrics import Metrics
from gatekeeper.services.figures import FigureReader
from gatekeeper.services.gate import Gate
from gatekeeper.services.rendering_places import RenderingPlaces
from gatekeeper.storage.connections import Pool

from . import gauges

DATABASE = "database"


class Readiness(Protocol):
    """Whether calls should be sent here: only if every part is fit."""

    @property
    def serving(self) -> bool:
        """Whether all of it is."""
        ...

    @property
    def parts(self) -> Mapping[str, bool]:
        """Each part, by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where metrics come from; `channels` tells where alerts go.

    `streams` tells how many streams of WatchStatus are open, `exports` how many of ExportInvoice.
    """

    metrics: Metrics
    gate: Gate
    pools: Sequence[Pool]
    readiness: Readiness
    figures: FigureReader
    streams: Callable[[], int]
    exports: Callable[[], int]
    places: RenderingPlaces
    channels: Sequence[str]


class _Collected:
    """Metrics to write down, as the library takes them."""

    def __init__(self, metrics: Iterator[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics


async def expose(sources: Sources) -> bytes:
    """Return all metrics in Prometheus' text format."""
    figures = await sources.figures.figures()
    database_fit = sources.readiness.parts.get(DATABASE, False)
    process = generate_latest(_Collected(_of_process(sources)))
    # Thousands of budgets would hold up calls for a quarter of a second.
    of_books = gauges.of_books(figures, sources.channels, database_fit)
    books = await asyncio.to_thread(generate_latest, _Collected(of_books))
    return process + books


def _of_process(sources: Sources) -> Iterator[Metric]:
    yield from sources.metrics.registry.collect()
    yield from gauges.of_readiness(sources.readiness.serving, sources.readiness.parts)
    yield from gauges.of_gate(sources.gate, sources.streams())
    yield from gauges.of_exports(sources.exports(), sources.places)
    yield from gauges.of_pools(sources.pools)
