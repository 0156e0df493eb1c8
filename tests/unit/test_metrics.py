"""What is counted, and how is it written down?"""

from __future__ import annotations

from decimal import Decimal

import pytest
from prometheus_client import generate_latest

from gatekeeper.domain.admission import DenialReason
from gatekeeper.metrics import BATCH_BOUNDS, DURATION_BOUNDS, VERDICTS, Metrics
from tests.integration.observing import Scrape, parse


def scrape(metrics: Metrics) -> Scrape:
    return parse(generate_latest(metrics.registry).decode())


def test_calls_count_by_method_and_status() -> None:
    """Each ended call is in its counter, and in the buckets of what it took and of all that is longer."""
    metrics = Metrics()
    for seconds in (0.0004, 0.003, 0.003, 7.0):
        metrics.rpc_done("Reserve", "OK", seconds)
    metrics.rpc_done("Reserve", "NOT_FOUND", 0.001)
    seen = scrape(metrics)
    name = "gatekeeper_rpc_duration_seconds"
    assert seen.of("gatekeeper_rpcs_total", method="Reserve", code="OK") == 4
    assert seen.of("gatekeeper_rpcs_total", method="Reserve", code="NOT_FOUND") == 1
    assert seen.of(f"{name}_bucket", method="Reserve", le="0.0005") == 1
    assert seen.of(f"{name}_bucket", method="Reserve", le="0.001") == 2
    assert seen.of(f"{name}_bucket", method="Reserve", le="0.005") == 4
    assert seen.of(f"{name}_bucket", method="Reserve", le="5.0") == 4
    assert seen.of(f"{name}_bucket", method="Reserve", le="+Inf") == 5
    assert seen.of(f"{name}_count", method="Reserve") == 5
    assert seen.of(f"{name}_sum", method="Reserve") == pytest.approx(7.0074)


def test_streams_have_no_duration() -> None:
    """How long somebody watches says nothing about the server."""
    metrics = Metrics()
    metrics.rpc_done("WatchStatus", "CANCELLED", None)
    seen = scrape(metrics)
    assert seen.of("gatekeeper_rpcs_total", method="WatchStatus", code="CANCELLED") == 1
    assert not seen.series("gatekeeper_rpc_duration_seconds_count")


def test_buckets_reach_from_half_a_millisecond_to_five_seconds() -> None:
    """Bounds rise, and cover what calls take and how large batches can be set to be."""
    assert (DURATION_BOUNDS[0], DURATION_BOUNDS[-1]) == (0.0005, 5)
    assert (BATCH_BOUNDS[0], BATCH_BOUNDS[-1]) == (1, 4096)
    for bounds in (DURATION_BOUNDS, BATCH_BOUNDS):
        assert sorted(set(bounds)) == list(bounds)


def test_every_verdict_begins_at_zero() -> None:
    """A rate is right from the first verdict on; verdicts are a closed set."""
    metrics = Metrics()
    assert set(VERDICTS) >= set(DenialReason)
    assert {labels["verdict"] for labels in scrape(metrics).series("gatekeeper_verdicts_total")} == set(VERDICTS)
    metrics.verdict(DenialReason.OUT_OF_BUDGET)
    metrics.verdict("OVERRIDDEN")
    seen = scrape(metrics)
    assert seen.of("gatekeeper_verdicts_total", verdict="OUT_OF_BUDGET") == 1
    assert seen.of("gatekeeper_verdicts_total", verdict="OVERRIDDEN") == 1
    with pytest.raises(KeyError):
        metrics.verdict("anything")


def test_batches_overage_and_expiry() -> None:
    """Batches have sizes and durations; overage counts calls, and amounts by currency; holds that expire count."""
    metrics = Metrics()
    metrics.batch(3, 0.002)
    metrics.batch(200, 0.02)
    metrics.overage(Decimal("1.5"), "USD")
    metrics.overage(Decimal("0.000000001"), "EUR")
    metrics.expired()
    metrics.expired(5)
    metrics.refused("QUEUE_FULL")
    seen = scrape(metrics)
    assert seen.of("gatekeeper_batch_calls_sum") == 203
    assert seen.of("gatekeeper_batch_calls_bucket", le="4.0") == 1
    assert seen.of("gatekeeper_batch_duration_seconds_count") == 2
    assert seen.of("gatekeeper_overages_total") == 2
    assert seen.of("gatekeeper_overage_amount_total", currency="USD") == 1.5
    assert seen.of("gatekeeper_overage_amount_total", currency="EUR") == 1e-9
    assert seen.of("gatekeeper_holds_expired_total") == 6
    assert seen.of("gatekeeper_errors_total", reason="QUEUE_FULL") == 1


def test_two_servers_count_apart() -> None:
    """Each has a registry of its own, with the process's figures and the version."""
    metrics, other = Metrics(), Metrics()
    metrics.expired()
    assert scrape(other).of("gatekeeper_holds_expired_total") == 0
    assert scrape(other).names >= {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    assert len(scrape(other).series("gatekeeper_build_info")) == 1


def test_names_and_units() -> None:
    """All names are the server's own or the process's, in base units."""
    names = scrape(Metrics()).names
    assert all(name.startswith(("gatekeeper_", "process_")) for name in names)
    assert not [name for name in names if name.endswith(("_ms", "_milliseconds", "_percent"))]
