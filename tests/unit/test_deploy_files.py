"""Do the files for Prometheus and Grafana load, and do they say what operators need?"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.unit.deployed import DASHBOARD, DEPLOY, RULES, expressions, named_metrics, panels, rules

PROMTOOL = shutil.which("promtool")
ALERTS = {
    "GatekeeperDown",
    "GatekeeperNotReady",
    "GatekeeperDatabaseAway",
    "GatekeeperErrors",
    "GatekeeperFiguresOld",
    "GatekeeperSlow",
    "GatekeeperQueueFull",
    "GatekeeperBudgetNearlyUsed",
    "GatekeeperAlertsDead",
    "GatekeeperAlertsLate",
    "GatekeeperVerificationFailed",
    "GatekeeperVerificationStale",
    "GatekeeperHoldsOverdue",
}


def promtool(*arguments: str) -> None:
    """Have promtool look; skip where there is none."""
    if PROMTOOL is None:
        pytest.skip("promtool is not installed; the files were parsed only")
    finished = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_there_is_a_rule_for_each_way_to_fail() -> None:
    """Each has a severity, and says in words what is the matter and what can be done."""
    assert {rule["alert"] for rule in rules()} == ALERTS
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_streams_are_no_failed_calls() -> None:
    """Each stream ends with an error, be it when a server stops: what becomes of calls is told without them."""
    (errors,) = [rule["expr"] for rule in rules() if rule["alert"] == "GatekeeperErrors"]
    assert errors.count("gatekeeper_rpcs_total") == errors.count('method!="WatchStatus"') == 2


def test_prometheus_reads_the_rules() -> None:
    """The configuration names the file of the rules, and the address that the documentation starts a server with."""
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert configuration["rule_files"] == [RULES.name]
    (job,) = configuration["scrape_configs"]
    assert job["job_name"] == "gatekeeper"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]


def test_promtool_takes_the_configuration() -> None:
    """What Prometheus' own tool makes of the configuration and the rules has no errors."""
    promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_rules_fire_when_they_should() -> None:
    """Against made-up series, each rule fires where it should, and only there."""
    promtool("test", "rules", str(Path(__file__).with_name("alert_rules.yml")))


def test_panels_have_ids_and_places_of_their_own() -> None:
    """No two panels of the dashboard have the same id, or overlap."""
    found = panels()
    assert len(found) >= 20
    assert max(Counter(panel["id"] for panel in found).values()) == 1
    cells = Counter(
        (x, y)
        for panel in found
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24


def test_panels_ask_the_data_source_that_is_chosen() -> None:
    """None is bound to a data source of somebody's installation."""
    for panel in panels():
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_brackets_are_closed() -> None:
    """Each expression has as many brackets that open as close."""
    for expression in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression


def test_grafana_finds_the_dashboard() -> None:
    """The files for provisioning name a data source of Prometheus, and a folder for the dashboard."""
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "gatekeeper.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert DASHBOARD.name.endswith(".json")


def test_they_name_metrics() -> None:
    """What is asked for are the server's own metrics; that they are there is shown with a real server."""
    assert len(named_metrics()) > 30
