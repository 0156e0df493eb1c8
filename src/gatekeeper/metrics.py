"""What is counted of a running server, under which names?

Names begin with `gatekeeper_`, durations are in seconds, shares between 0 and 1. Each label has a closed set of values:
RPCs, status codes, reasons, verdicts, currencies. One event loop counts, so plain numbers do, at a fifth of what a
library's counters with their locks cost; the library writes them down when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gatekeeper.domain.admission import DenialReason

# From an answer out of memory to the longest that a client waits by default, about evenly on a logarithmic scale.
DURATION_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0)

ADMITTED = "ADMITTED"
OVERRIDDEN = "OVERRIDDEN"
WOULD_DENY = "WOULD_DENY"
VERDICTS = (ADMITTED, OVERRIDDEN, WOULD_DENY, *DenialReason)


class Histogram:
    """How many values fell below each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Begin with none; `bounds` rise."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def write(self, family: HistogramMetricFamily, labels: Sequence[str] = ()) -> None:
        """Add to a family, which has cumulative buckets."""
        total, buckets = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(labels, buckets, self._sum)


class Metrics:
    """What is counted while the server works. All methods are for the event loop that serves, and take about 0.5 µs."""

    def __init__(self) -> None:
        """Begin at zero, with a registry of its own, which has the process's figures as well."""
        self.registry = CollectorRegistry(auto_describe=False)
        self._durations: dict[str, Histogram] = defaultdict(lambda: Histogram(DURATION_BOUNDS))
        self._rpcs: dict[tuple[str, str], int] = defaultdict(int)
        self._errors: dict[str, int] = defaultdict(int)
        self._verdicts: dict[str, int] = dict.fromkeys(map(str, VERDICTS), 0)
        self._batch_sizes = Histogram(BATCH_BOUNDS)
        self._batch_durations = Histogram(DURATION_BOUNDS)
        self._overages = 0
        self._overage_amounts: dict[str, Decimal] = defaultdict(Decimal)
        self._expired = 0
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def rpc_done(self, method: str, code: str, seconds: float | None) -> None:
        """Count an RPC that has ended with a status code, by the names of both; None: it lasts as its caller likes."""
        self._rpcs[method, code] += 1
        if seconds is not None:
            self._durations[method].observe(seconds)

    def refused(self, reason: str) -> None:
        """Count an RPC without a verdict, by its `ErrorReason` without the prefix."""
        self._errors[reason] += 1

    def verdict(self, name: str) -> None:
        """Count a verdict on a Reserve or Extend: one of VERDICTS."""
        self._verdicts[name] += 1

    def batch(self, size: int, seconds: float) -> None:
        """Count a batch of so many calls, from its first statement to its last."""
        self._batch_sizes.observe(size)
        self._batch_durations.observe(seconds)

    def overage(self, amount: Decimal, currency: str) -> None:
        """Count a call that cost `amount` more than it had reserved."""
        self._overages += 1
        self._overage_amounts[currency] += amount

    def expired(self, count: int = 1) -> None:
        """Count holds that ended by themselves."""
        self._expired += count

    def collect(self) -> Iterator[Metric]:
        """Return what was counted, as the registry asks for it."""
        build = GaugeMetricFamily("gatekeeper_build_info", "Which version runs; always 1.", labels=["version"])
        build.add_metric([version("budget-gatekeeper")], 1)
        yield build
        yield from self._collect_calls()
        yield from self._collect_gate()

    def _collect_calls(self) -> Iterator[Metric]:
        yield _counter("gatekeeper_rpcs_total", "RPCs that have ended.", ["method", "code"], self._rpcs.items())
        durations = HistogramMetricFamily(
            "gatekeeper_rpc_duration_seconds", "From a message that is read to its answer.", labels=["method"]
        )
        for method, histogram in self._durations.items():
            histogram.write(durations, [method])
        yield durations
        yield _counter("gatekeeper_errors_total", "RPCs without a verdict.", ["reason"], _keyed(self._errors))

    def _collect_gate(self) -> Iterator[Metric]:
        yield _counter(
            "gatekeeper_verdicts_total",
            "Verdicts on Reserve and Extend; OVERRIDDEN and WOULD_DENY were admitted too.",
            ["verdict"],
            _keyed(self._verdicts),
        )
        sizes = HistogramMetricFamily("gatekeeper_batch_calls", "Calls in one transaction.")
        self._batch_sizes.write(sizes)
        yield sizes
        durations = HistogramMetricFamily("gatekeeper_batch_duration_seconds", "How long transactions took.")
        self._batch_durations.write(durations)
        yield durations
        yield _counter("gatekeeper_overages_total", "Calls that cost more than reserved.", [], [([], self._overages)])
        yield _counter(
            "gatekeeper_overage_amount_total",
            "How much more they cost.",
            ["currency"],
            _keyed({currency: float(amount) for currency, amount in self._overage_amounts.items()}),
        )
        yield _counter("gatekeeper_holds_expired_total", "Holds that ended by themselves.", [], [([], self._expired)])


def _counter(name: str, help_text: str, labels: Sequence[str], counts: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for values, count in counts:
        family.add_metric(values, count)
    return family


def _keyed(counts: Mapping[str, float]) -> Iterator[tuple[Sequence[str], float]]:
    """Yield what is counted by one label only."""
    return (([key], count) for key, count in counts.items())
