"""What is listed of alerts? What was crossed and how it stood, how far each has come, page by page; and tests of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import grpc
import pytest

from gatekeeper.domain.access import Role
from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import alert_pb2, budget_pb2
from gatekeeper_client.v1 import report_service_pb2 as pb

from .refusals import refusal, refusal_of
from .secured import Secured
from .wire import TIMEOUT_S, Wire, campaign, until

THRESHOLD, RESOLVED = alert_pb2.ALERT_KIND_THRESHOLD, alert_pb2.ALERT_KIND_RESOLVED
TEST = alert_pb2.ALERT_KIND_TEST
PENDING, DELIVERED, DEAD = (
    alert_pb2.DELIVERY_STATE_PENDING,
    alert_pb2.DELIVERY_STATE_DELIVERED,
    alert_pb2.DELIVERY_STATE_DEAD,
)
# A channel that the tests' server does not have, and leaves alone.
FOREIGN = """
    INSERT INTO alert_deliveries (organization, alert_id, channel, state, attempts, next_attempt_at, last_error)
    VALUES (%s, %s, 'apprise-7', %s, 3, now() + interval '1 hour', 'HTTP 500')
"""
OF_INSTALLATION = """
    INSERT INTO alerts (organization, kind, message, occurred_at, subject)
    VALUES ('', 'VERIFICATION_FAILED', 'The books do not add up.', now(), gen_random_uuid()::text)
    RETURNING alert_id::text
"""


def page(wire: Wire, organization: str, **fields: Any) -> pb.ListAlertsResponse:
    """Return one page of alerts."""
    return wire.reports.ListAlerts(pb.ListAlertsRequest(organization=organization, **fields), timeout=TIMEOUT_S)


def alerts(wire: Wire, organization: str, **fields: Any) -> Iterator[alert_pb2.Alert]:
    """Yield the alerts of every page."""
    token = ""
    while True:
        answer = page(wire, organization, page_token=token, **fields)
        yield from answer.alerts
        token = answer.next_page_token
        if not token:
            return


def send_test(wire: Wire, organization: str) -> alert_pb2.Alert:
    """Send an alert that says nothing, a minute after the one before."""
    wire.test_later(organization)
    return wire.admin.TestAlerts(admin_pb.TestAlertsRequest(organization=organization), timeout=TIMEOUT_S).alert


@pytest.fixture
def filled(wire: Wire, organization: str) -> str:
    """Return an organization with six alerts: a campaign's 80 and 95 % by both bases, and two tests."""
    wire.open(organization)
    wire.cap(organization, "10", campaign("spring"))
    held = wire.hold(organization, "9.60", campaign="spring")
    wire.commit(held, "9.60")
    for _ in range(2):
        send_test(wire, organization)
    return organization


def test_a_crossing_tells_how_the_budget_stood(wire: Wire, filled: str) -> None:
    """Which budget and period, compared by what with which threshold, and the amounts in its currency."""
    found = [*alerts(wire, filled, kind=THRESHOLD)]
    assert [(alert.threshold, alert.basis) for alert in reversed(found)] == [
        (80, alert_pb2.ALERT_BASIS_USED),
        (95, alert_pb2.ALERT_BASIS_USED),
        (80, alert_pb2.ALERT_BASIS_SPENT),
        (95, alert_pb2.ALERT_BASIS_SPENT),
    ]
    spent, used = found[0], found[-1]
    assert (spent.organization, spent.scope, spent.window) == (
        filled,
        campaign("spring"),
        budget_pb2.BUDGET_WINDOW_MONTH,
    )
    assert spent.period == wire.budget(filled).period
    assert [from_money(money) for money in (spent.cap, spent.spent, spent.reserved)] == [
        Decimal(10),
        Decimal("9.60"),
        Decimal(0),
    ]
    assert [from_money(money) for money in (used.spent, used.reserved)] == [Decimal(0), Decimal("9.60")]
    assert spent.cap.currency_code == "USD"
    assert spent.message.startswith("The month budget of campaign 'spring' (")
    assert "is at or above 95 %" in spent.message
    assert spent.event_time.seconds > 0
    assert not spent.subject


def test_another_cap_resolves(wire: Wire, filled: str) -> None:
    """What is no longer crossed is told as such."""
    wire.cap(filled, "100", campaign("spring"))
    found = [*alerts(wire, filled, kind=RESOLVED)]
    assert sorted((alert.threshold, alert.basis) for alert in found) == [(80, 1), (80, 2), (95, 1), (95, 2)]


def test_a_test_alert_is_told_like_any_other(wire: Wire, organization: str) -> None:
    """It is answered before it is on its way, another one each time, and arrives in the log file."""
    wire.open(organization)
    first, second = send_test(wire, organization), send_test(wire, organization)
    assert first.alert_id != second.alert_id
    assert (first.kind, first.organization, len(first.deliveries)) == (TEST, organization, 0)
    assert not first.HasField("scope")
    assert not first.HasField("cap")

    def delivered() -> list[alert_pb2.Alert]:
        return [*alerts(wire, organization, delivery_state=DELIVERED)]

    until(lambda: len(delivered()) == 2)
    newest, oldest = delivered()
    (delivery,) = oldest.deliveries
    assert (delivery.channel, delivery.state, delivery.attempts, delivery.last_error) == ("log", DELIVERED, 1, "")
    assert delivery.deliver_time.ToNanoseconds() >= oldest.event_time.ToNanoseconds()
    assert not delivery.HasField("next_attempt_time")
    for listed, told in ((oldest, first), (newest, second)):
        del listed.deliveries[:]
        listed.subject = told.subject
        assert listed == told


def test_deliveries_tell_what_went_wrong(wire: Wire, organization: str) -> None:
    """Of one that waits, when it is tried next; of one that is dead, no more than why."""
    wire.open(organization)
    waiting, dead = send_test(wire, organization), send_test(wire, organization)
    until(lambda: len([*alerts(wire, organization, delivery_state=DELIVERED)]) == 2)
    for alert, state in ((waiting, "PENDING"), (dead, "DEAD")):
        wire.sql(FOREIGN, organization, alert.alert_id, state)
    for alert, shown in ((waiting, PENDING), (dead, DEAD)):
        (found,) = page(wire, organization, delivery_state=shown, kind=TEST).alerts
        assert found.alert_id == alert.alert_id
        foreign = found.deliveries[0]
        assert (foreign.channel, foreign.state, foreign.attempts) == ("apprise-7", shown, 3)
        assert foreign.last_error == "HTTP 500"
        assert foreign.HasField("next_attempt_time") == (shown == PENDING)
        assert not foreign.HasField("deliver_time")
    assert not page(wire, organization, delivery_state=DEAD, kind=RESOLVED).alerts


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_pages_are_the_whole(wire: Wire, filled: str, size: int) -> None:
    """Pages of any size hold every alert once, the newest first, whatever their deliveries are."""
    whole = [alert.alert_id for alert in page(wire, filled, page_size=1000).alerts]
    assert [alert.alert_id for alert in alerts(wire, filled, page_size=size)] == whole
    assert len(whole) == 6
    assert whole == sorted(whole, key=int, reverse=True)


def test_new_alerts_do_not_shift_pages(wire: Wire, filled: str) -> None:
    """A page goes on where the one before ended."""
    first = page(wire, filled, page_size=2)
    send_test(wire, filled)
    second = page(wire, filled, page_size=2, page_token=first.next_page_token)
    ids = [int(alert.alert_id) for alert in (*first.alerts, *second.alerts)]
    assert ids == sorted({*ids}, reverse=True)
    assert len(ids) == 4


def test_page_tokens_are_checked(wire: Wire, filled: str) -> None:
    """One of another request, or with something else in it, is refused."""
    token = page(wire, filled, page_size=1).next_page_token
    changed = pb.ListAlertsRequest(organization=filled, page_token=token, kind=TEST)
    refused = refusal(wire.reports.ListAlerts, changed, timeout=TIMEOUT_S)
    assert refused.violations == {"page_token": "belongs to a request with other fields; begin anew"}
    digest, _ = json.loads(base64.urlsafe_b64decode(token))
    for alert_id in ("", "x", str(2**63), f"-{2**63}", "9" * 5000):
        forged = base64.urlsafe_b64encode(json.dumps([digest, alert_id]).encode()).decode()
        if len(forged) <= 4096:
            request = pb.ListAlertsRequest(organization=filled, page_token=forged)
            refused = refusal(wire.reports.ListAlerts, request, timeout=TIMEOUT_S)
            assert refused.violations == {"page_token": "is not one that this server made"}


def test_an_unknown_organization_has_none(wire: Wire, organization: str) -> None:
    """It is not found, and not opened."""
    listed = pb.ListAlertsRequest(organization=organization)
    assert refusal(wire.reports.ListAlerts, listed, timeout=TIMEOUT_S).code is grpc.StatusCode.NOT_FOUND
    tried = admin_pb.TestAlertsRequest(organization=organization)
    assert refusal(wire.admin.TestAlerts, tried, timeout=TIMEOUT_S).code is grpc.StatusCode.NOT_FOUND
    assert not wire.sql("SELECT FROM organizations WHERE organization = %s", organization)


def test_an_organization_without_alerts_has_an_empty_list(wire: Wire, organization: str) -> None:
    """That is not the same as one that is not there."""
    wire.open(organization)
    assert page(wire, organization) == pb.ListAlertsResponse()


def test_the_installations_alerts_are_for_operators(secured: Secured, organization: str) -> None:
    """An empty organization is the installation for an operator, and the caller's own for everybody else."""
    wire = secured.wire
    wire.sql("INSERT INTO organizations (organization) VALUES (%s)", organization)
    ((of_installation,),) = wire.sql(OF_INSTALLATION)
    admin = secured.token(Role.ADMIN, organization)
    own = secured.call("TestAlerts", admin_pb.TestAlertsRequest(organization=organization), admin).alert
    assert own.organization == organization
    for token in (admin, secured.token(Role.VIEWER, organization)):
        (listed,) = secured.call("ListAlerts", pb.ListAlertsRequest(), token).alerts
        assert listed.alert_id == own.alert_id
    listed = secured.call("ListAlerts", pb.ListAlertsRequest(), secured.operator).alerts
    assert of_installation in [alert.alert_id for alert in listed]
    assert {alert.organization for alert in listed} == {""}
    (listed,) = secured.call("ListAlerts", pb.ListAlertsRequest(organization=organization), secured.operator).alerts
    assert listed.alert_id == own.alert_id


def test_one_test_a_minute(wire: Wire, organization: str) -> None:
    """All organizations share the channels: more are refused, with a time to come back, and nothing is written."""
    wire.open(organization)
    request = admin_pb.TestAlertsRequest(organization=organization)
    send_test(wire, organization)
    # One minute may end between two of three calls, not two.
    refusals = []
    for _ in range(2):
        try:
            wire.admin.TestAlerts(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            refusals.append(refusal_of(error))
    refused = refusals[-1]
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert (refused.retry_delay_s, refused.metadata) == (60, {"organization": organization})
    assert len([*alerts(wire, organization)]) == 3 - len(refusals)
    other = f"{organization}-other"
    wire.open(other)
    assert wire.admin.TestAlerts(admin_pb.TestAlertsRequest(organization=other), timeout=TIMEOUT_S).HasField("alert")


def test_what_was_given_up_is_tried_anew(wire: Wire, organization: str) -> None:
    """Of the last month's alerts, those of one organization that are dead; from the first attempt on."""
    wire.open(organization)
    young, old, waiting = (send_test(wire, organization) for _ in range(3))
    for alert, state in ((young, "DEAD"), (old, "DEAD"), (waiting, "PENDING")):
        wire.sql(FOREIGN, organization, alert.alert_id, state)
    wire.sql("UPDATE alerts SET occurred_at = now() - interval '32 days' WHERE alert_id = %s", old.alert_id)
    other = f"{organization}-other"
    wire.open(other)
    assert retried(wire, other) == 0
    assert retried(wire, organization) == 1
    assert retried(wire, organization) == 0
    (dead,) = page(wire, organization, delivery_state=DEAD).alerts
    assert dead.alert_id == old.alert_id
    found = {alert.alert_id: alert.deliveries[0] for alert in page(wire, organization).alerts}
    assert (found[young.alert_id].state, found[young.alert_id].attempts) == (PENDING, 0)
    assert (found[waiting.alert_id].state, found[waiting.alert_id].attempts) == (PENDING, 3)


def retried(wire: Wire, organization: str) -> int:
    request = admin_pb.RetryAlertsRequest(organization=organization)
    return wire.admin.RetryAlerts(request, timeout=TIMEOUT_S).deliveries


def test_an_unknown_organization_retries_nothing(wire: Wire, organization: str) -> None:
    """It is not found; the installation, which has no name, is there."""
    request = admin_pb.RetryAlertsRequest(organization=organization)
    assert refusal(wire.admin.RetryAlerts, request, timeout=TIMEOUT_S).code is grpc.StatusCode.NOT_FOUND
    assert retried(wire, "") >= 0


def test_testing_is_for_admins(secured: Secured, organization: str) -> None:
    """Viewers may look, agents not even that."""
    secured.wire.sql("INSERT INTO organizations (organization) VALUES (%s)", organization)
    viewer, agent = (secured.token(role, organization) for role in (Role.VIEWER, Role.AGENT))
    tried = admin_pb.TestAlertsRequest(organization=organization)
    for token in (viewer, agent):
        assert refusal(secured.call, "TestAlerts", tried, token).code is grpc.StatusCode.PERMISSION_DENIED
    listed = pb.ListAlertsRequest(organization=organization)
    assert refusal(secured.call, "ListAlerts", listed, agent).code is grpc.StatusCode.PERMISSION_DENIED
    assert secured.call("ListAlerts", listed, viewer) == pb.ListAlertsResponse()
