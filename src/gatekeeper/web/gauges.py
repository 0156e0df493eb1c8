"""Which gauges are there? How the process and the books stand at the moment of a scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gatekeeper.services.figures import Figures
from gatekeeper.services.gate import Gate
from gatekeeper.services.rendering_places import RenderingPlaces
from gatekeeper.storage.connections import Pool
from gatekeeper.storage.metrics import Counts, FullBudget, Verified

MS = 1000

BUDGET_LABELS = ("organization", "scope_kind", "scope", "window")
BUDGETS = {
    "utilization_ratio": "Spent and reserved, as a share of the cap.",
    "cap": "What may be spent in the period, in the organization's currency, as the others.",
    "spent": "What was spent.",
    "reserved": "What open holds may still cost.",
}
# Most budgets have none, and then no series.
RARELY = {
    "excess": "How far it may stand above the cap by overage, late commits and changes of the cap.",
    "overridden": "How much of what is used overrides have paid for.",
}
POOLS = {
    "connections": ("pool_size", "Connections that are open."),
    "connections_idle": ("pool_available", "Those that nobody uses."),
    "connections_max": ("pool_max", "How many there may be."),
    "waiting": ("requests_waiting", "Those who wait for one."),
}
POOL_TOTALS = {
    "wait_seconds": ("requests_wait_ms", MS, "How long was waited for connections."),
    "errors": ("requests_errors", 1, "Requests for a connection that got none."),
    "connection_errors": ("connections_errors", 1, "Connections that could not be made."),
    "connections_lost": ("connections_lost", 1, "Connections that were found broken."),
}


def of_readiness(ready: bool, parts: Mapping[str, bool]) -> Iterator[Metric]:
    """Yield whether the process is fit to serve, and each of its parts."""
    yield _gauge("ready", "Whether calls should be sent here.", ready)
    yield _labelled("part_fit", "Whether a part of readiness is.", ["part"], (((n,), fit) for n, fit in parts.items()))


def of_gate(gate: Gate, streams: int) -> Iterator[Metric]:
    """Yield what is under way."""
    yield _gauge("gate_open", "Whether calls are let to the books.", gate.is_open)
    yield _gauge("gate_waiting", "Calls that wait for a batch.", gate.waiting)
    yield _gauge("gate_waiting_max", "How many may wait altogether.", gate.limits.queue_total_max)
    yield _gauge("gate_lanes", "Organizations with calls under way.", gate.lanes)
    yield _gauge("watch_streams", "Open streams of WatchStatus.", streams)


def of_exports(exports: int, places: RenderingPlaces) -> Iterator[Metric]:
    """Yield how many exports are open, and how many files of theirs are made or wait for that."""
    yield _gauge("export_streams", "Open streams of ExportInvoice.", exports)
    yield _gauge("renderings", "Files of invoices that are being rendered.", places.under_way)
    yield _gauge("renderings_waiting", "Those that wait for others.", places.waiting)


def of_pools(pools: Sequence[Pool]) -> Iterator[Metric]:
    """Yield how the pools of connections stand. What did not happen yet is missing in their own statistics."""
    stats = {pool.name: pool.get_stats() for pool in pools}
    for name, (key, text) in POOLS.items():
        yield _labelled(f"pool_{name}", text, ["pool"], (((pool,), of.get(key, 0)) for pool, of in stats.items()))
    for name, (key, unit, text) in POOL_TOTALS.items():
        family = CounterMetricFamily(f"gatekeeper_pool_{name}_total", text, labels=["pool"])
        for pool, of in stats.items():
            family.add_metric([pool], of.get(key, 0) / unit)
        yield family


def of_books(figures: Figures, channels: Iterable[str], database_fit: bool) -> Iterator[Metric]:
    """Yield how the books stand, as far as it is known. Each of `channels` has a count of alerts, also of none."""
    yield _gauge("database_up", "Whether the database answers.", database_fit)
    ages = (([query], age_s) for query, age_s in figures.age_s.items())
    yield _labelled("figures_age_seconds", "How long ago figures of the books were read.", ["query"], ages)
    if figures.counts is not None:
        yield from _of_counts(figures.counts, channels)
    if figures.budgets is not None:
        yield from _of_budgets(figures.budgets)


def _of_counts(counts: Counts, channels: Iterable[str]) -> Iterator[Metric]:
    yield _gauge("holds_open", "Open holds.", counts.holds_open)
    yield _gauge("holds_overdue", "Holds that nobody ends, a minute after they expired.", counts.holds_overdue)
    none = dict.fromkeys(channels, 0)
    waiting, dead = {"": 0, **none, **counts.alerts_waiting}, {**none, **counts.alerts_dead}
    yield _by_channel("alerts_waiting", "Alerts on their way; without a channel: on none yet.", waiting)
    yield _by_channel("alerts_dead", "Alerts that a channel never took, in the last 7 days.", dead)
    yield _gauge("alert_wait_seconds", "Age of the oldest that is on its way; 0: there is none.", counts.alert_wait_s)
    overrides = [(("ACTIVE",), counts.overrides_active), (("PENDING",), counts.overrides_pending)]
    yield _labelled("overrides", "Overrides in force, and those that wait for approval.", ["state"], overrides)
    yield from _of_verification(counts.verified)


def _by_channel(name: str, text: str, alerts: Mapping[str, int]) -> Metric:
    return _labelled(name, text, ["channel"], (([channel], count) for channel, count in alerts.items()))


def _of_budgets(budgets: Sequence[FullBudget]) -> Iterator[Metric]:
    labels = [(budget.organization, budget.scope_kind, budget.scope_id, budget.window) for budget in budgets]
    for name, text in BUDGETS.items():
        field = "utilization" if name == "utilization_ratio" else name
        values = (getattr(budget, field) for budget in budgets)
        yield _labelled(f"budget_{name}", text, BUDGET_LABELS, zip(labels, values, strict=True))
    for name, text in RARELY.items():
        values = (getattr(budget, name) for budget in budgets)
        some = ((of, value) for of, value in zip(labels, values, strict=True) if value)
        yield _labelled(f"budget_{name}", text, BUDGET_LABELS, some)


def _of_verification(verified: Verified | None) -> Iterator[Metric]:
    """Yield what the last verification found; no values where there was none yet."""
    found: list[tuple[Sequence[str], float]] = []
    ended: list[tuple[Sequence[str], float]] = []
    took: list[tuple[Sequence[str], float]] = []
    if verified is not None:
        found = [(["books"], verified.differences), (["audit"], verified.audit_differences)]
        ended = [([], verified.finished_at.timestamp())]
        took = [([], (verified.finished_at - verified.started_at).total_seconds())]
    yield _labelled("verification_differences", "What the servers' last verification found.", ["part"], found)
    yield _labelled("verification_timestamp_seconds", "When it ended.", [], ended)
    yield _labelled("verification_duration_seconds", "How long it took.", [], took)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"gatekeeper_{name}", text, value=value)


def _labelled(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"gatekeeper_{name}", text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family
