"""Can an operator see from the command line what was told, and whether it arrived?"""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gatekeeper_client import Client
from tests.acceptance.commands import Done, failed, run
from tests.conftest import Server, ServerFactory
from tests.integration.alert_receiver import Answer, receiving

WAIT_S = 30


@pytest.fixture
def at(server: Server) -> dict[str, str]:
    """Return the environment that names a server with its log file for the only channel."""
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    assert run("cap", "100", **at).code == 0
    return at


def posting(
    start_server: ServerFactory, database_url: str, folder: Path, place: str, **settings: str
) -> dict[str, str]:
    """Start a server that also posts alerts to a place; return the environment that names it."""
    secret = folder / "webhook.secret"
    secret.touch(0o600)
    secret.write_text("a secret of at least twenty-four bytes")
    server = start_server(
        database_url=database_url,
        GATEKEEPER_ALERT_WEBHOOK_URL=f"http://{place}/",
        GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE=str(secret),
        GATEKEEPER_ALERT_INTERVAL_S="0.05",
        **settings,
    )
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    assert run("cap", "100", **at).code == 0
    return at


def document(done: Done) -> Any:
    """Return what a command printed, whatever it found."""
    assert done.err == ""
    return done.document


def told(at: dict[str, str], *which: str) -> list[dict[str, Any]]:
    """Wait until alerts of a kind are delivered everywhere, or given up, and return them."""
    deadline = time.monotonic() + WAIT_S
    while True:
        alerts: list[dict[str, Any]] = document(run("alerts", "list", *which, "--json", **at))["alerts"]
        states = [delivery["state"] for alert in alerts for delivery in alert["deliveries"]]
        if states and "PENDING" not in states and all(alert["deliveries"] for alert in alerts):
            return alerts
        assert time.monotonic() < deadline, alerts


def test_a_crossing_is_listed_with_its_deliveries(server: Server, at: dict[str, str]) -> None:
    """Once for each threshold, with the budget as it stood, and how far it has come."""
    assert run("alerts", "list", **at).out == "There is no such alert.\n"
    with Client(server.address) as client:
        client.reserve("acme", amount="96")
    alerts = told(at, "--kind", "threshold")
    assert [alert["budget"]["threshold"] for alert in alerts] == [95, 80]
    budget = alerts[0]["budget"]
    assert {name: budget[name] for name in ("scope", "basis", "cap", "spent", "reserved")} == {
        "scope": {"kind": "ORGANIZATION", "id": ""},
        "basis": "USED",
        "cap": "100.00",
        "spent": "0.00",
        "reserved": "96.00",
    }
    assert [(each["channel"], each["state"]) for each in alerts[0]["deliveries"]] == [("log", "DELIVERED")]
    (row,) = [line for line in run("alerts", "list", "--limit", "1", **at).out.splitlines() if "THRESHOLD" in line]
    assert "95 %: 96.00 spent and held of 100.00 USD. " in row
    assert row.rstrip().endswith("log delivered")
    assert run("alerts", "list", "--delivery", "dead", **at).out == "There is no such alert.\n"


def test_alerts_that_arrive(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """`alerts test` waits until every channel has it, and exits with 0."""
    with receiving() as receiver:
        at = posting(start_server, database_url, tmp_path, receiver.place)
        done = run("alerts", "test", **at)
        assert (done.code, done.err) == (0, "")
        assert sorted(done.out.splitlines()) == ["log delivered", "webhook delivered"]
        # One minute may end between two of three, not two.
        again = [run("alerts", "test", **at) for _ in range(2)][-1]
        assert "has had a test alert this minute" in failed(again)
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE alerts SET subject = alert_id::text")
        alert = document(run("alerts", "test", "--json", **at))
        assert alert["kind"] == "TEST"
        assert {delivery["state"] for delivery in alert["deliveries"]} == {"DELIVERED"}
        assert alert["alert_id"] in receiver.ids()


def test_a_channel_that_refuses(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """`alerts test` exits with 1 after its first failure, and says why and when it is tried again."""
    with receiving(500) as receiver:
        at = posting(start_server, database_url, tmp_path, receiver.place)
        done = run("alerts", "test", **at)
        assert (done.code, done.err) == (1, "")
        log, webhook = sorted(done.out.splitlines())
        assert log == "log delivered"
        assert webhook.startswith("webhook failed (1 attempt), next at ")
        assert webhook.endswith(": HTTP 500")


def test_a_channel_that_hangs(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """`alerts test` does not wait for longer than it is told."""
    with receiving(Answer.HANGS) as receiver:
        at = posting(start_server, database_url, tmp_path, receiver.place)
        done = run("alerts", "test", "--timeout", "1s", **at)
        assert done.code == 1
        assert "webhook under way" in done.out.splitlines()
        assert "not every channel has tried it within 1s" in done.err


def test_an_alert_that_nobody_took(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """It is in the list of the dead, and `check` exits with 1 because of it."""
    with receiving(500) as receiver:
        at = posting(start_server, database_url, tmp_path, receiver.place, GATEKEEPER_ALERT_ATTEMPTS_MAX="1")
        assert run("alerts", "test", **at).code == 1
        (dead,) = told(at, "--delivery", "dead")
    done = run("check", "--json", **at)
    (breach,) = document(done)["breaches"]
    assert (done.code, breach["kind"], breach["alert_id"]) == (1, "DELIVERY_DEAD", dead["alert_id"])
    assert "webhook given up after 1 attempt: HTTP 500." in breach["message"]
    assert run("check", "--campaign", "spring", **at).code == 0


def test_what_was_given_up_is_tried_anew(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """`alerts retry` says how many deliveries are on their way again; then there is none to retry."""
    with receiving(500) as receiver:
        at = posting(start_server, database_url, tmp_path, receiver.place, GATEKEEPER_ALERT_ATTEMPTS_MAX="1")
        assert run("alerts", "test", **at).code == 1
        assert len(told(at, "--delivery", "dead")) == 1
        receiver.answer(204)
        assert run("alerts", "retry", **at).out == "1 delivery is on the way again.\n"
        (alert,) = told(at)
        assert {delivery["state"] for delivery in alert["deliveries"]} == {"DELIVERED"}
        assert document(run("alerts", "retry", "--json", **at)) == {"organization": "acme", "deliveries": 0}
        assert run("alerts", "retry", **at).out == "None was given up.\n"


def test_books_that_do_not_add_up(database_url: str, at: dict[str, str]) -> None:
    """What the verification found in the last 48 hours fails a `check` of whoever may see it; older is history."""
    add = "INSERT INTO alerts (organization, kind, subject, message, occurred_at) VALUES ('', %s, %s, %s, now() - %s)"
    with psycopg.connect(database_url) as connection:
        connection.execute(add, ("VERIFICATION_FAILED", "1", "Two balances differ.", timedelta(hours=49)))
        connection.commit()
        assert run("check", **at).code == 0
        connection.execute(add, ("VERIFICATION_FAILED", "2", "One balance differs.", timedelta(hours=47)))
    done = run("check", **at)
    assert (done.code, done.err, done.out.count("\n")) == (1, "", 1)
    assert done.out.endswith(" UTC: One balance differs.\n")
    assert [alert["subject"] for alert in told(at, "--organization", "")] == ["2", "1"]


def test_an_unknown_organization(at: dict[str, str]) -> None:
    """It is a failure of one line."""
    assert "no organization 'other'" in failed(run("alerts", "test", "--organization", "other", **at))


def test_the_log_file_has_a_line_for_each(server: Server, at: dict[str, str], tmp_path: Path) -> None:
    """With its time and its id."""
    alert_id = document(run("alerts", "test", "--json", **at))["alert_id"]
    (file,) = tmp_path.rglob("alerts.jsonl")
    (line,) = file.read_text().splitlines()
    assert (json.loads(line)["alert_id"], "timestamp" in json.loads(line)) == (alert_id, True)
