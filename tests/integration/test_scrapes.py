"""What does a scrape tell of calls and books, and what where the books cannot be read?"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import grpc
import psycopg
import pytest

from gatekeeper.services.figures import FRESH_S
from gatekeeper_client.v1 import budget_pb2, invoice_pb2
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from tests.contract.secured import Secured
from tests.contract.wire import WAITING, agent, campaign, run, until
from tests.integration.observing import Connect, Watch
from tests.unit.deployed import named_metrics


def test_calls_and_verdicts_are_counted(watch: Watch, wire_to: Connect) -> None:
    """Each RPC counts by its status, with how long it took; verdicts, reasons, batches, overage by themselves."""
    watched = watch()
    wire = wire_to(watched)
    wire.cap("acme", "10")
    held = wire.hold("acme", "4")
    wire.commit(held, "6")
    wire.deny("acme", "5")
    with pytest.raises(Exception, match="NOT_FOUND"):
        wire.status("nobody")
    scrape = watched.scrape()
    assert scrape.of("gatekeeper_rpcs_total", method="Reserve", code="OK") == 2
    assert scrape.of("gatekeeper_rpcs_total", method="GetStatus", code="NOT_FOUND") == 1
    assert scrape.of("gatekeeper_rpc_duration_seconds_count", method="Reserve") == 2
    assert scrape.of("gatekeeper_rpc_duration_seconds_bucket", method="Reserve", le="+Inf") == 2
    assert scrape.of("gatekeeper_errors_total", reason="ORGANIZATION_NOT_FOUND") == 1
    assert scrape.of("gatekeeper_verdicts_total", verdict="ADMITTED") == 1
    assert scrape.of("gatekeeper_verdicts_total", verdict="OUT_OF_BUDGET") == 1
    assert scrape.of("gatekeeper_verdicts_total", verdict="BUDGET_FROZEN") == 0
    assert scrape.of("gatekeeper_batch_calls_sum") == 3
    assert scrape.of("gatekeeper_overages_total") == 1
    assert scrape.of("gatekeeper_overage_amount_total", currency="USD") == 2
    assert scrape.of("gatekeeper_ready") == scrape.of("gatekeeper_database_up") == 1


def test_the_books_are_shown(watch: Watch, wire_to: Connect) -> None:
    """Budgets in their current period, open holds, overrides and alerts are what the database has."""
    watched = watch(GATEKEEPER_ALERT_INTERVAL_S="60")
    wire = wire_to(watched)
    wire.cap("acme", "10")
    wire.hold("acme", "9")
    wire.sql(
        "WITH told AS (INSERT INTO alerts (organization, kind, subject, message, occurred_at, dispatched_at)"
        " VALUES ('', 'TEST', 'waits', '', now() - interval '1 h', NULL), ('', 'TEST', 'dead', '', now(), now()),"
        " ('', 'TEST', 'long dead', '', now(), now() - interval '8 d') RETURNING alert_id, dispatched_at)"
        " INSERT INTO alert_deliveries SELECT '', alert_id, 'log', 'DEAD', 1, dispatched_at FROM told"
        " WHERE dispatched_at IS NOT NULL"
    )
    wire.sql(
        "INSERT INTO verifications (started_at, finished_at, differences, audit_differences)"
        " VALUES (now() - interval '5 s', now(), 3, 1)"
    )
    wire.sql(
        "INSERT INTO overrides (organization, override_id, scope_kind, scope_id, max_amount, ttl, state, created_at,"
        " expires_at, reason) SELECT 'acme', o, 'ORGANIZATION', '', 1, interval '1 h', 'PENDING', now(), until, 'why'"
        " FROM (VALUES ('a', now() + interval '1 h'), ('b', now() - interval '1 h')) v(o, until)"
    )
    scrape = watched.scrape()
    whole = {"organization": "acme", "scope_kind": "ORGANIZATION", "scope": "", "window": "MONTH"}
    assert scrape.of("gatekeeper_budget_utilization_ratio", **whole) == 0.9
    assert scrape.of("gatekeeper_budget_cap", **whole) == 10
    assert scrape.of("gatekeeper_budget_reserved", **whole) == 9
    assert scrape.of("gatekeeper_holds_open") == 1
    assert scrape.of("gatekeeper_holds_overdue") == 0
    assert (scrape.of("gatekeeper_alert_wait_seconds") or 0) >= 3600
    assert (scrape.of("gatekeeper_alerts_waiting", channel="") or 0) >= 1
    assert scrape.of("gatekeeper_alerts_waiting", channel="log") is not None
    assert scrape.of("gatekeeper_alerts_dead", channel="log") == 1
    assert scrape.of("gatekeeper_overrides", state="PENDING") == 1
    assert scrape.of("gatekeeper_verification_differences", part="books") == 3
    assert scrape.of("gatekeeper_verification_differences", part="audit") == 1
    assert scrape.of("gatekeeper_verification_duration_seconds") == 5


def test_the_fullest_budgets_only(watch: Watch, wire_to: Connect) -> None:
    """However many budgets there are, the set number of them has series: its own, and those that are used most."""
    watched = watch(GATEKEEPER_METRICS_BUDGETS_MAX="3")
    wire = wire_to(watched)
    for number, cap in enumerate(("10", "2", "4")):
        wire.cap("acme", cap, agent(f"a{number}"))
        wire.hold("acme", "1", agent=f"a{number}")
    shown = watched.scrape().series("gatekeeper_budget_utilization_ratio")
    assert [labels["scope"] for labels in shown] == ["", "a1", "a2"]


def test_calls_above_a_callers_rate_are_counted(watch: Watch, wire_to: Connect) -> None:
    """Whoever is turned away counts by the reason, whether before its message was read or after, and has no line."""
    watched = watch(GATEKEEPER_INSECURE="0", GATEKEEPER_CALLS_PER_S_MAX="5")
    secured = Secured(wire_to(watched))
    refused = 0
    for _ in range(60):
        try:
            secured.call("GetStatus", pb.GetStatusRequest(organization="nobody"), secured.operator)
        except grpc.RpcError as error:
            refused += error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    assert refused
    assert watched.scrape().of("gatekeeper_errors_total", reason="RATE_LIMITED") == refused


def test_watchers_are_counted(watch: Watch, wire_to: Connect) -> None:
    """Streams that are open have a gauge; those that have ended count by their status."""
    watched = watch()
    wire = wire_to(watched)
    wire.cap("acme", "10")
    stream = wire.reports.WatchStatus(report_pb.WatchStatusRequest(organization="acme"))
    assert next(stream)
    assert watched.scrape().of("gatekeeper_watch_streams") == 1
    stream.cancel()
    until(lambda: watched.scrape().of("gatekeeper_watch_streams") == 0)
    scrape = watched.scrape()
    assert scrape.of("gatekeeper_rpcs_total", method="WatchStatus", code="CANCELLED") == 1
    assert scrape.of("gatekeeper_rpc_duration_seconds_count", method="WatchStatus") is None


def test_exports_are_counted(watch: Watch, wire_to: Connect) -> None:
    """Open ones have a gauge apart from watchers, and so have their files while they are made."""
    watched = watch()
    wire = wire_to(watched)
    wire.cap("acme", "10")
    request = pb.ExportInvoiceRequest(organization="acme", formats=[invoice_pb2.INVOICE_FORMAT_PDF])
    export = wire.gatekeeper.ExportInvoice(request)
    assert next(export)
    until(lambda: watched.scrape().of("gatekeeper_renderings") == 1)
    scrape = watched.scrape()
    assert (scrape.of("gatekeeper_export_streams"), scrape.of("gatekeeper_watch_streams")) == (1, 0)
    export.cancel()
    until(lambda: watched.scrape().of("gatekeeper_export_streams") == 0)
    scrape = watched.scrape()
    assert (scrape.of("gatekeeper_renderings"), scrape.of("gatekeeper_renderings_waiting")) == (0, 0)


def test_every_metric_is_explained(watch: Watch) -> None:
    """The documentation names all of the server's own metrics, and none that there is not."""
    page = (Path(__file__).parents[2] / "docs" / "observe.md").read_text()
    told = set(re.findall(r"`(gatekeeper_[a-z_]+)", page))
    names = {name for name in watch().scrape().names if name.startswith("gatekeeper_")}
    assert told == {re.sub("_(bucket|count|sum)$", "", name) for name in names}


def test_names_are_escaped(watch: Watch, wire_to: Connect) -> None:
    """A name with quotes, backslashes and other letters comes through as it is, and makes no series of its own."""
    name = 'a"b\\c{}, é=1'
    watched = watch()
    wire = wire_to(watched)
    wire.cap("acme", "10", campaign(name))
    wire.hold("acme", "1", campaign=name)
    shown = watched.scrape().series("gatekeeper_budget_cap")
    assert name in {labels["scope"] for labels in shown}


def test_rules_and_dashboard_name_metrics_that_exist(watch: Watch) -> None:
    """Whatever the files for Prometheus and Grafana ask for, a server that has done nothing yet already names."""
    assert named_metrics() - watch().scrape().names == set()


def test_a_query_that_hangs(watch: Watch, wire_to: Connect) -> None:
    """While a statement for metrics waits for a lock, all others are shown, and scrapes do not pile up."""
    watched = watch()
    wire = wire_to(watched)
    wire.hold("acme", "1")
    with psycopg.connect(wire.database_url) as other:
        other.execute("LOCK TABLE verifications")
        began = time.monotonic()
        scrape = watched.scrape()
        assert scrape.of("gatekeeper_database_up") == 1
        assert scrape.of("gatekeeper_holds_open") is None
        assert len(scrape.series("gatekeeper_budget_cap")) == 1
        threads = [threading.Thread(target=watched.scrape) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 10
        ((waiting,),) = wire.sql(WAITING)
        assert waiting <= 1


def test_what_was_known_is_kept(watch: Watch, wire_to: Connect) -> None:
    """A statement that fails leaves its last figures with their age, which grows; the others are read anew."""
    watched = watch()
    wire = wire_to(watched)
    wire.hold("acme", "1")
    assert watched.scrape().of("gatekeeper_holds_open") == 1
    wire.sql("ALTER TABLE verifications RENAME TO elsewhere")

    def ages() -> tuple[float, float]:
        scrape = watched.scrape()
        assert (scrape.of("gatekeeper_database_up"), scrape.of("gatekeeper_holds_open")) == (1, 1)
        assert len(scrape.series("gatekeeper_budget_cap")) == 1
        counts, budgets = (scrape.of("gatekeeper_figures_age_seconds", query=name) for name in ("counts", "budgets"))
        assert counts is not None
        assert budgets is not None
        return counts, budgets

    until(lambda: ages()[0] > ages()[1] + FRESH_S - 1)
    wire.sql("ALTER TABLE elsewhere RENAME TO verifications")
    until(lambda: ages()[0] < FRESH_S - 1)


def test_no_tenant_crowds_out_others(watch: Watch, wire_to: Connect) -> None:
    """Organizations' own budgets come first, then as many of each; without a cap, frozen, or a run's: none's place."""
    watched = watch(GATEKEEPER_METRICS_BUDGETS_MAX="6")
    wire = wire_to(watched)
    for name in ("small", "large"):
        wire.cap(name, "100")
        wire.hold(name, "1")
    for number in range(8):
        for tenant, scope, cap in (("large", agent(f"dead{number}"), "0"), ("large", agent(f"full{number}"), "1")):
            wire.cap(tenant, cap, scope)
    wire.cap("small", "1", agent("frozen"))
    for number in range(2):
        wire.cap("small", "10", agent(f"calm{number}"))
    wire.sql(
        "INSERT INTO balances (organization, scope_kind, scope_id, budget_window, period, cap, enforcement, spent)"
        " SELECT organization, scope_kind, scope_id, budget_window,"
        " CASE budget_window WHEN 'MONTH' THEN to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM') ELSE 'total' END, cap,"
        " enforcement, least(1, cap) FROM budgets WHERE scope_kind = 'AGENT' ON CONFLICT DO NOTHING"
    )
    wire.sql("UPDATE budgets SET frozen = true WHERE scope_id = 'frozen'")
    wire.hold("large", "1", run="r")
    wire.cap("large", "1", run("r"), window=budget_pb2.BUDGET_WINDOW_TOTAL)
    shown = {(of["organization"], of["scope"]) for of in watched.scrape().series("gatekeeper_budget_cap")}
    ours = {("small", ""), ("small", "calm0"), ("small", "calm1")}
    assert shown == ours | {("large", ""), ("large", "full0"), ("large", "full1")}
