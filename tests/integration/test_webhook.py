"""Does a webhook prove who sends it, and take nothing but 2xx for an answer?"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from gatekeeper.alerting.failures import DeliveryFailed, reason_of
from gatekeeper.alerting.webhook import Webhook
from gatekeeper.domain.alert_deliveries import Notice
from gatekeeper.domain.alerts import AlertBasis, AlertKind
from gatekeeper.domain.budget import BalanceKey, Scope, ScopeKind
from gatekeeper.domain.periods import Window
from tests.integration.alert_receiver import SECRET, Answer, Receiver, notice, receiving

INSTALLATION = "an-installation"
OTHER = b"another secret that is long enough"
KEY = BalanceKey(Scope(ScopeKind.CAMPAIGN, "spring ☀"), Window.MONTH, "2026-11")
CROSSED = notice(
    kind=AlertKind.THRESHOLD,
    message="The month budget of campaign 'spring ☀' is at or above 80 %.",
    key=KEY,
    basis=AlertBasis.USED,
    threshold=80,
    cap=Decimal(100),
    spent=Decimal("80.5"),
)


def post(receiver: Receiver, told: Notice = CROSSED, secrets: tuple[bytes, ...] = (SECRET,), late_s: int = 0) -> None:
    url = f"http://{receiver.place}/alerts?to=me"
    channel = Webhook(url, secrets, INSTALLATION, lambda: time.time() - late_s)
    asyncio.run(channel.deliver(told))


def test_its_receiver_knows_who_sent_it() -> None:
    """A library that knows Standard Webhooks verifies it, and finds all that is known of the alert."""
    with receiving() as receiver:
        post(receiver)
    (came,) = receiver.posts
    assert came.path == "/alerts?to=me"
    assert came.headers["webhook-id"] == "msg_an-installation_17"
    assert came.headers["content-type"] == "application/json"
    assert Verifier(SECRET).verify(came.body, came.headers) == {
        "type": "alert.threshold",
        "timestamp": "2026-11-20T00:00:00.000000Z",
        "data": {
            "alert_id": "17",
            "organization": "acme",
            "kind": "THRESHOLD",
            "message": CROSSED.alert.message,
            "event_time": "2026-11-20T00:00:00.000000Z",
            "scope": {"kind": "CAMPAIGN", "id": "spring ☀"},
            "window": "MONTH",
            "period": "2026-11",
            "currency": "USD",
            "cap": "100.00",
            "spent": "80.50",
            "reserved": "0.00",
            "basis": "USED",
            "threshold": 80,
        },
    }


def test_what_is_about_no_budget_names_none() -> None:
    """Fields without a meaning are left out."""
    with receiving() as receiver:
        post(receiver, notice(subject="s1"))
    (came,) = receiver.posts
    assert json.loads(came.body)["data"].keys() == {
        "alert_id",
        "organization",
        "kind",
        "message",
        "event_time",
        "subject",
    }


def test_a_receiver_may_know_the_old_secret_or_the_new_one() -> None:
    """It is signed with each; who knows neither is not convinced."""
    with receiving() as receiver:
        post(receiver, secrets=(SECRET, OTHER))
    (came,) = receiver.posts
    for secret in (SECRET, OTHER):
        Verifier(secret).verify(came.body, came.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(b"a secret of somebody else").verify(came.body, came.headers)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body"])
def test_nothing_of_it_can_be_changed(changed: str) -> None:
    """Another id, time or body does not fit the signature: a copy is known by its id, and cannot get a new one."""
    with receiving() as receiver:
        post(receiver)
    (came,) = receiver.posts
    headers, body = dict(came.headers), came.body
    if changed == "body":
        body = body.replace(b"80.50", b"10.50")
    elif changed == "webhook-id":
        headers[changed] += "1"
    else:
        headers[changed] = str(int(headers[changed]) + 1)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body, headers)


def test_a_late_copy_is_known_by_its_time() -> None:
    """The time of the attempt is signed: what is older than five minutes is refused."""
    with receiving() as receiver:
        post(receiver, late_s=301)
    (came,) = receiver.posts
    with pytest.raises(WebhookVerificationError, match="too old"):
        Verifier(SECRET).verify(came.body, came.headers)


def test_another_attempt_has_the_same_id_and_a_new_time() -> None:
    """So that a receiver can tell what it has seen, and still finds it fresh."""
    with receiving() as receiver:
        post(receiver, late_s=60)
        post(receiver)
    first, second = receiver.posts
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert int(first.headers["webhook-timestamp"]) <= int(second.headers["webhook-timestamp"]) - 59


@pytest.mark.parametrize("status", [304, 400, 404, 410, 429, 500, 503])
def test_no_status_but_2xx_is_success(status: int) -> None:
    """What failed is told by its status."""
    with receiving(status) as receiver, pytest.raises(DeliveryFailed, match=f"HTTP {status}"):
        post(receiver)


def test_redirects_are_not_followed() -> None:
    """Nobody else gets what was signed for one receiver."""
    with receiving(Answer.REDIRECTS) as receiver, pytest.raises(DeliveryFailed, match="HTTP 302"):
        post(receiver)
    assert [came.path for came in receiver.posts] == ["/alerts?to=me"]


def test_an_endless_answer_is_not_read() -> None:
    """Its status is enough."""
    with receiving(Answer.GOES_ON) as receiver:
        post(receiver)


def failing(url: str) -> str:
    """Return what is said of an attempt that must fail."""

    async def attempt() -> None:
        async with asyncio.timeout(5):
            await Webhook(url, [SECRET], INSTALLATION).deliver(CROSSED)

    with pytest.raises((httpx.HTTPError, TimeoutError, OSError)) as raised:
        asyncio.run(attempt())
    assert isinstance(raised.value, Exception)
    return reason_of(raised.value)


def test_what_is_said_of_a_failure_names_no_address() -> None:
    """Only the kinds of errors: those who wrote them like to quote the URL."""
    assert failing("http://user:sesame@127.0.0.1:1/sesame?sesame=sesame").startswith("ConnectError: ")
    with receiving(Answer.LOSES) as receiver:
        assert failing(f"http://user:sesame@{receiver.place}/sesame") == "RemoteProtocolError"
        assert receiver.posts[0].headers["authorization"] == f"Basic {base64.b64encode(b'user:sesame').decode()}"
        assert "sesame" not in failing(f"https://{receiver.place}/sesame")
    assert "sesame" not in failing("http://sesame.invalid/")


def test_times_are_the_worlds() -> None:
    """Unless told, it is signed for now."""
    with receiving() as receiver:
        asyncio.run(Webhook(f"http://{receiver.place}/", [SECRET], INSTALLATION).deliver(CROSSED))
    age_s = datetime.now(UTC).timestamp() - int(receiver.posts[0].headers["webhook-timestamp"])
    assert 0 <= age_s < 60
