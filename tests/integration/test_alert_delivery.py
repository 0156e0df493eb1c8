"""Do alerts arrive, whatever becomes of receivers and servers?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import alert_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from tests.conftest import ServerFactory, served_url, server_environment, wait_until
from tests.contract.wire import TIMEOUT_S, Wire, until
from tests.integration.alert_receiver import SECRET, Answer, receiving, secret_file
from tests.integration.alert_servers import (
    ORGANIZATION,
    QUICK,
    apprise_to,
    deliveries,
    lines_of,
    tell,
    until_settled,
    webhook_to,
)

CLOSED = "127.0.0.1:1"
MAIL_TO_NOBODY = f"mailto://{CLOSED}/?from=gatekeeper@example.com&to=ada@example.com"
DEAD = alert_pb2.DELIVERY_STATE_DEAD


def log_of(tmp_path: Path) -> str:
    """Return what all servers of a test have logged."""
    return "".join(path.read_text() for path in sorted(tmp_path.glob("server-*.log")))


def events(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log_of(tmp_path).splitlines() if line.startswith("{")]
    return [event for event in found if event["event"] == name]


def test_an_alert_arrives_on_every_channel(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """As a line in the log file, a signed post, and what Apprise makes of it; each at the first attempt."""
    with receiving() as hook, receiving() as chat:
        settings = webhook_to(f"http://{hook.place}/", tmp_path / "w")
        settings |= apprise_to(tmp_path / "a", f"json://{chat.place}/room")
        start_server(database_url=database_url, **QUICK | settings)
        (alert_id,) = tell(database_url)
        until_settled(database_url)
    assert [(row["channel"], row["state"], row["attempts"]) for row in deliveries(database_url)] == [
        ("apprise-1", "DELIVERED", 1),
        ("log", "DELIVERED", 1),
        ("webhook", "DELIVERED", 1),
    ]
    (line,) = lines_of(tmp_path)
    (posted,) = hook.posts
    verified = Verifier(SECRET).verify(posted.body, posted.headers)
    assert hook.ids() == [verified["data"]["alert_id"]] == [line["alert_id"]] == [alert_id]
    assert line == {"timestamp": verified["timestamp"], **verified["data"]}
    (chatted,) = chat.posts
    shown = json.loads(chatted.body)
    assert chatted.path == "/room"
    assert (shown["title"], shown["type"]) == ("acme: test alert", "info")
    assert shown["message"] == f"It is only a test.\n\nAlert {alert_id}, {line['timestamp']}"


def test_what_fails_is_tried_again_with_the_same_id(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """A receiver that refuses twice gets it a third time, and that is the last."""
    with receiving(500, 503, 204) as hook:
        start_server(database_url=database_url, **QUICK | webhook_to(f"http://{hook.place}/", tmp_path / "w"))
        (alert_id,) = tell(database_url)
        until_settled(database_url)
    assert hook.ids() == [alert_id] * 3
    (row,) = deliveries(database_url, channel="webhook")
    assert (row["state"], row["attempts"], row["last_error"]) == ("DELIVERED", 3, "HTTP 503")


def test_an_answer_that_is_lost_makes_a_duplicate(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """What was taken, but not confirmed, comes again under the same id: the receiver can tell."""
    with receiving(Answer.LOSES, 200) as hook:
        start_server(database_url=database_url, **QUICK | webhook_to(f"http://{hook.place}/", tmp_path / "w"))
        (alert_id,) = tell(database_url)
        until_settled(database_url)
    assert hook.ids() == [alert_id] * 2
    assert len({post.body for post in hook.posts}) == 1


def test_a_receiver_that_hangs_holds_up_nobody(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """While it does, the log file has everything; when it answers, it gets everything."""
    patient = QUICK | {"GATEKEEPER_ALERT_ATTEMPTS_MAX": "100"}
    with receiving(Answer.HANGS) as hook:
        start_server(database_url=database_url, **patient | webhook_to(f"http://{hook.place}/", tmp_path / "w"))
        alert_ids = tell(database_url, 12)
        until(lambda: any("TimeoutError" in row["last_error"] for row in deliveries(database_url)))
        until_settled(database_url, "webhook")
        assert [line["alert_id"] for line in lines_of(tmp_path)] == alert_ids
        assert not deliveries(database_url, channel="webhook", state="DELIVERED")
        hook.answer(204)
        until_settled(database_url)
    assert {*hook.ids()} == {*alert_ids}
    assert len(deliveries(database_url, state="DELIVERED")) == 24


def test_a_dead_receiver_makes_dead_deliveries(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """After so many attempts nothing more is tried: that is logged and listed, and the log file has the alert."""
    settings = webhook_to(f"http://user:sesame@{CLOSED}/sesame", tmp_path / "w")
    settings |= apprise_to(tmp_path / "a", MAIL_TO_NOBODY)
    # Apprise takes its time before it says that nobody answers.
    server = start_server(database_url=database_url, **QUICK | settings | {"GATEKEEPER_ALERT_TIMEOUT_S": "10"})
    (alert_id,) = tell(database_url)
    until_settled(database_url)
    wire = Wire(server.address, database_url)
    request = report_pb.ListAlertsRequest(organization=ORGANIZATION, delivery_state=DEAD)
    (alert,) = wire.reports.ListAlerts(request, timeout=TIMEOUT_S).alerts
    wire.close()
    assert alert.alert_id == alert_id
    mail, log, webhook = alert.deliveries
    assert (mail.channel, mail.state, mail.attempts) == ("apprise-1", DEAD, 3)
    assert mail.last_error == "the service could not be reached, or refused"
    assert (log.channel, log.state, log.attempts) == ("log", alert_pb2.DELIVERY_STATE_DELIVERED, 1)
    assert log.HasField("deliver_time")
    assert (webhook.channel, webhook.state, webhook.attempts) == ("webhook", DEAD, 3)
    assert webhook.last_error == "ConnectError: ConnectionRefusedError"
    assert not webhook.HasField("next_attempt_time")
    wait_until(lambda: len(events(tmp_path, "alerts.dead")) == 2)  # lines are written by a thread
    dead = events(tmp_path, "alerts.dead")
    assert {(event["channel"], str(event["alert_id"]), event["attempts"]) for event in dead} == {
        ("apprise-1", alert_id, 3),
        ("webhook", alert_id, 3),
    }
    assert {event["channel"] for event in events(tmp_path, "alerts.channel_fails")} == {"apprise-1", "webhook"}


def test_two_servers_deliver_each_alert_once(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """When nothing fails, nothing comes twice, however many look for it at the same time."""
    with receiving() as hook:
        settings = QUICK | webhook_to(f"http://{hook.place}/", tmp_path / "w")
        for _ in range(2):
            start_server(database_url=database_url, **settings)
        alert_ids = [alert_id for _ in range(10) for alert_id in tell(database_url, 20)]
        until_settled(database_url)
    assert Counter(hook.ids()) == Counter(alert_ids)
    assert Counter(line["alert_id"] for line in lines_of(tmp_path)) == Counter(alert_ids)
    assert {row["attempts"] for row in deliveries(database_url)} == {1}


def test_what_a_killed_server_has_claimed_is_delivered_by_another(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """Its claim ends by itself."""
    with receiving(Answer.HANGS) as hook:
        settings = QUICK | webhook_to(f"http://{hook.place}/", tmp_path / "w") | {"GATEKEEPER_ALERT_TIMEOUT_S": "2"}
        killed = start_server(database_url=database_url, **settings)
        (alert_id,) = tell(database_url)
        until(lambda: hook.posts)
        killed.kill()
        (row,) = deliveries(database_url, channel="webhook")
        assert (row["state"], row["attempts"]) == ("PENDING", 1)
        hook.answer(204)
        start_server(database_url=database_url, **settings)
        until_settled(database_url)
    assert hook.ids() == [alert_id] * 2
    (row,) = deliveries(database_url, channel="webhook")
    assert (row["state"], row["attempts"]) == ("DELIVERED", 2)


def test_alerts_wait_for_the_database(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """When connections break while an alert is on its way, it is written down or sent again; none is lost."""
    with receiving() as hook:
        settings = (
            QUICK | webhook_to(f"http://{hook.place}/", tmp_path / "w") | {"GATEKEEPER_ALERT_ATTEMPTS_MAX": "100"}
        )
        start_server(database_url=database_url, **settings)
        alert_ids: list[str] = []
        with psycopg.connect(database_url, autocommit=True) as connection:
            for _ in range(10):
                alert_ids += tell(database_url, 10)
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'gatekeeper-upkeep'"
                )
        until_settled(database_url)
    assert {*hook.ids()} == {*alert_ids}
    assert {line["alert_id"] for line in lines_of(tmp_path)} == {*alert_ids}
    assert {row["state"] for row in deliveries(database_url)} == {"DELIVERED"}


def test_no_secret_gets_out(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """Neither of working channels nor of failing ones, at any level of the log."""
    with receiving(500, Answer.LOSES, 204) as hook, receiving(500, Answer.LOSES, 204) as chat:
        settings = webhook_to(f"http://sesame:sesame@{hook.place}/sesame?token=sesame", tmp_path / "w")
        settings |= apprise_to(
            tmp_path / "a",
            f"json://sesame:sesame@{chat.place}/sesame?+token=sesame",
            f"json://sesame:sesame@{CLOSED}/sesame",
            "mailto://sesame:sesame@example.com:1?smtp=127.0.0.1&to=sesame@example.com",
        )
        start_server(database_url=database_url, **QUICK | settings | {"GATEKEEPER_LOG_LEVEL": "debug"})
        tell(database_url)
        until_settled(database_url)
    logged = log_of(tmp_path)
    told = [logged, json.dumps(deliveries(database_url), default=str), json.dumps([*lines_of(tmp_path)])]
    assert {row["state"] for row in deliveries(database_url)} == {"DELIVERED", "DEAD"}
    for secret in ("sesame", SECRET.decode(), hook.place, chat.place, CLOSED):
        assert all(secret not in text for text in told)


def test_a_channel_that_hangs_does_not_keep_a_server_from_ending(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """A thread that waits for a service which never answers is left behind."""
    with receiving(Answer.HANGS) as chat:
        settings = QUICK | apprise_to(tmp_path / "a", f"json://{chat.place}/?rto=60")
        server = start_server(database_url=database_url, **settings)
        tell(database_url)
        until(lambda: chat.posts)
        assert server.stop() == 0


def test_channels_that_hang_are_not_asked_twice_at_once(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """While a service has not come back nothing is tried and nothing counted, and that is logged; then it goes on."""
    with receiving(Answer.HANGS, 204) as chat:
        start_server(database_url=database_url, **QUICK | apprise_to(tmp_path / "a", f"json://{chat.place}/?rto=60"))
        tell(database_url, 3)
        until(lambda: events(tmp_path, "alerts.channel_stuck"))
        until_settled(database_url, "apprise-1")
        waiting = deliveries(database_url, channel="apprise-1", state="PENDING")
        assert [row["attempts"] for row in waiting] == [1, 0, 0]
        assert len(chat.posts) == 1
        chat.over.set()
        until_settled(database_url)
    arrived = deliveries(database_url, channel="apprise-1", state="DELIVERED")
    assert [row["attempts"] for row in arrived] == [2, 1, 1]
    assert len(events(tmp_path, "alerts.channel_stuck")) == 1


def test_servers_need_not_have_the_same_channels(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """What one hands over reaches those that only another has, though that was started later."""
    without = QUICK | {"GATEKEEPER_ALERT_LOG": "0"}
    with receiving() as hook:
        start_server(database_url=database_url, **QUICK)
        start_server(database_url=database_url, **without | webhook_to(f"http://{hook.place}/", tmp_path / "w"))
        start_server(database_url=database_url, **without)
        alert_ids = [alert_id for _ in range(20) for alert_id in tell(database_url)]
        until_settled(database_url)
    assert sorted(hook.ids(), key=int) == alert_ids
    assert [line["alert_id"] for line in lines_of(tmp_path)] == alert_ids


def test_a_channel_that_was_there_today_is_waited_for(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """A server that is down for a while misses nothing; one that has been for a day is not waited for."""
    start_server(database_url=database_url, **QUICK)
    with psycopg.connect(database_url) as connection:
        for channel, age in (("apprise-8", "23 hours"), ("apprise-9", "25 hours")):
            connection.execute(
                "INSERT INTO alert_channels (channel, last_seen_at) VALUES (%s, now() - %s::interval)", (channel, age)
            )
    tell(database_url)
    until_settled(database_url, "apprise-8")
    assert [row["channel"] for row in deliveries(database_url)] == ["apprise-8", "log"]


def test_without_any_channel_nothing_waits(start_server: ServerFactory, database_url: str) -> None:
    """Alerts are listed, and not counted as on their way."""
    start_server(database_url=database_url, **QUICK | {"GATEKEEPER_ALERT_LOG": "false"})
    tell(database_url)
    until_settled(database_url)
    assert deliveries(database_url) == []


def test_many_alerts_of_one_organization_hold_up_no_other(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """Organizations take turns on a channel, whoever came first."""
    with receiving(Answer.HANGS, 204) as chat:
        start_server(database_url=database_url, **QUICK | apprise_to(tmp_path / "a", f"json://{chat.place}/?rto=60"))
        first, *_ = tell(database_url, 200, "loud")
        until(lambda: chat.posts)
        others = {alert_id for name in ("calm", "quiet") for alert_id in tell(database_url, 1, name)}
        until(lambda: len(deliveries(database_url, channel="apprise-1")) == 202)
        chat.over.set()
        until(lambda: len(chat.posts) > 6)
    told = [json.loads(post.body)["message"] for post in chat.posts[:6]]
    assert others <= {message.rpartition("Alert ")[2].partition(",")[0] for message in told}
    assert first in told[0]


def test_ids_are_this_installations(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """A receiver of several installations can tell their alerts apart; all servers of one say the same."""
    with receiving(500, 204) as hook:
        settings = QUICK | webhook_to(f"http://{hook.place}/", tmp_path / "w")
        for _ in range(2):
            start_server(database_url=database_url, **settings)
        (alert_id,) = tell(database_url)
        until_settled(database_url)
    with psycopg.connect(database_url) as connection:
        ((installation,),) = connection.execute("SELECT installation_id::text FROM installation").fetchall()
    assert [post.headers["webhook-id"] for post in hook.posts] == [f"msg_{installation}_{alert_id}"] * 2


def test_what_was_given_up_can_be_tried_anew(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """Once the receiver is mended it gets what it missed."""
    with receiving(500) as hook:
        server = start_server(database_url=database_url, **QUICK | webhook_to(f"http://{hook.place}/", tmp_path / "w"))
        alert_ids = tell(database_url, 3)
        until_settled(database_url)
        assert len(deliveries(database_url, channel="webhook", state="DEAD")) == 3
        hook.answer(204)
        hook.posts.clear()
        wire = Wire(server.address, database_url)
        request = admin_pb.RetryAlertsRequest(organization=ORGANIZATION)
        assert wire.admin.RetryAlerts(request, timeout=TIMEOUT_S).deliveries == 3
        wire.close()
        until_settled(database_url)
    assert sorted(hook.ids(), key=int) == alert_ids


def test_a_channel_that_nobody_has_is_given_up(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """What waits for it is dead after a day, and told in the log; what others may have is left to them until then."""
    alert_ids = tell(database_url, 2)
    with psycopg.connect(database_url) as connection:
        for alert_id, age in zip(alert_ids, ("25 hours", "23 hours"), strict=True):
            connection.execute(
                "INSERT INTO alert_deliveries (organization, alert_id, channel, next_attempt_at)"
                " VALUES (%s, %s, 'apprise-9', now() - %s::interval)",
                (ORGANIZATION, alert_id, age),
            )
    start_server(database_url=database_url, **QUICK)
    until_settled(database_url, "apprise-9")
    until(lambda: events(tmp_path, "alerts.abandoned"))
    old, young = deliveries(database_url, channel="apprise-9")
    assert (old["state"], old["last_error"]) == ("DEAD", "no server has had this channel for a day")
    assert (young["state"], young["attempts"]) == ("PENDING", 0)


def test_an_unwritable_log_is_tried_again(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """A disk that is full, or a folder in the way, costs a delay and no alert."""
    patient = QUICK | {"GATEKEEPER_ALERT_ATTEMPTS_MAX": "100"}
    logs = tmp_path / "logs-0"
    logs.mkdir()
    (logs / "budget").write_text("no folder")
    start_server(database_url=database_url, **patient)
    # Before there is an alert.
    until(lambda: events(tmp_path, "alerts.channel_unusable"))
    (unusable,) = events(tmp_path, "alerts.channel_unusable")
    assert (unusable["channel"], unusable["reason"], unusable["level"]) == ("log", "Not a directory", "error")
    (alert_id,) = tell(database_url)
    until(lambda: deliveries(database_url, last_error="File exists"))
    (logs / "budget").unlink()
    until_settled(database_url)
    assert [line["alert_id"] for line in lines_of(tmp_path)] == [alert_id]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"GATEKEEPER_ALERT_WEBHOOK_URL": "https://example.com/sesame"}, "GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE"),
        ({"GATEKEEPER_ALERT_WEBHOOK_URL": "sesame://"}, "GATEKEEPER_ALERT_WEBHOOK_URL"),
        ({}, "Apprise can make nothing of URL 1"),
    ],
)
def test_a_server_does_not_start_with_a_channel_that_cannot_work(
    database_url: str, tmp_path: Path, settings: dict[str, str], problem: str
) -> None:
    """It says why in one line, without what is secret."""
    if not settings:
        settings = {"GATEKEEPER_ALERT_APPRISE_FILE": str(secret_file(tmp_path, "sesame://sesame"))}
    elif "SECRET_FILE" not in problem:
        settings |= {"GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE": str(secret_file(tmp_path, SECRET.decode()))}
    finished = subprocess.run(
        [sys.executable, "-m", "gatekeeper", "serve", "--listen", "127.0.0.1:0"],
        env=server_environment(tmp_path, GATEKEEPER_DATABASE_URL=served_url(database_url), **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    (last,) = [line for line in finished.stderr.splitlines() if "Alerts cannot be sent" in line]
    assert problem in last
    assert "sesame" not in finished.stderr + finished.stdout
