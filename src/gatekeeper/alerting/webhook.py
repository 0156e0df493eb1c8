"""How is an alert posted so that its receiver knows who sent it, and when? As standardwebhooks.com describes.

The body is signed together with the alert's id and the time of the attempt. A receiver that refuses what is older than
five minutes, and ids that it has seen, cannot be fooled by a copy; an alert that is sent again has the same id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

from gatekeeper.domain.alert_deliveries import Notice

from .failures import ChannelUnusable, DeliveryFailed
from .secret_files import read_lines
from .texts import event_time, fields

PREFIX = "whsec_"
# What Standard Webhooks asks for, at least.
SECRET_BYTES_MIN = 24
# How long each step of an attempt may take where whoever makes it does not end it before.
TIMEOUT_MAX_S = 60.0
URL_SETTING = "GATEKEEPER_ALERT_WEBHOOK_URL"
SECRET_SETTING = "GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE"  # noqa: S105 - the name of a setting


class Webhook:
    """Posts alerts as signed JSON. Redirects are not followed: the signature is for one receiver."""

    name = "webhook"
    at_once = 4

    def __init__(
        self, url: str, secrets: Sequence[bytes], installation: str, clock_s: Callable[[], float] = time.time
    ) -> None:
        """Post to `url`, signed with each of `secrets`, so that a receiver may know the old or the new one.

        `installation` is part of each id, for a receiver that many post to. Raises `ChannelUnusable`.
        """
        self._url = _checked(url)
        self._secrets = secrets
        self._installation = installation
        self._clock_s = clock_s
        self._client = _client()

    def is_busy(self) -> bool:
        """Tell that it is not: what is given up ends."""
        return False

    async def check(self) -> None:
        """Know of nothing: whether it works, attempts will tell."""

    async def deliver(self, notice: Notice) -> None:
        """Post an alert; whatever is not 2xx is a failure. Raises `DeliveryFailed`, or what httpx raises."""
        body = content(notice)
        headers = {"content-type": "application/json", "user-agent": "budget-gatekeeper"}
        headers |= signed(self._secrets, webhook_id(self._installation, notice), int(self._clock_s()), body)
        # What the receiver has to say beyond the status is not read: it may be endless.
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            if not response.is_success:
                message = f"HTTP {response.status_code}"
                raise DeliveryFailed(message)


def _client() -> httpx.AsyncClient:
    """Return what posts, by the proxy and the authorities that the environment names. Raises `ChannelUnusable`."""
    # Alerts are rare: a connection that is kept would mostly be found closed.
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        return httpx.AsyncClient(timeout=TIMEOUT_MAX_S, limits=limits, follow_redirects=False)
    except (ImportError, OSError, ValueError, httpx.InvalidURL):
        problem = "the proxy or SSL_CERT_FILE of the environment cannot be used"
        raise ChannelUnusable(setting=URL_SETTING, problem=problem) from None


def webhook_id(installation: str, notice: Notice) -> str:
    """Return what a receiver knows an alert by that it has seen: the same on every attempt, and nobody else's."""
    return f"msg_{installation}_{notice.alert_id}"


def content(notice: Notice) -> bytes:
    """Return the body that an alert is posted as."""
    kind = notice.alert.kind.lower()
    body = {"type": f"alert.{kind}", "timestamp": event_time(notice), "data": fields(notice)}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def signed(secrets: Sequence[bytes], webhook_id: str, timestamp_s: int, body: bytes) -> Mapping[str, str]:
    """Return the headers that prove who sent a body, and when: a signature with each secret."""
    text = f"{webhook_id}.{timestamp_s}.".encode() + body
    digests = [hmac.digest(secret, text, hashlib.sha256) for secret in secrets]
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def read_secrets(path: Path) -> list[bytes]:
    """Return the secrets of a file, one a line: base64 behind `whsec_`, or any other text as its bytes.

    Raises `ChannelUnusable`.
    """
    secrets = [_secret(line, path) for line in read_lines(path, SECRET_SETTING)]
    if not secrets:
        raise ChannelUnusable(setting=SECRET_SETTING, problem=f"{path}: it is empty")
    return secrets


def _secret(line: str, path: Path) -> bytes:
    try:
        secret = (
            base64.b64decode(line.removeprefix(PREFIX), validate=True) if line.startswith(PREFIX) else line.encode()
        )
    except binascii.Error:
        raise ChannelUnusable(setting=SECRET_SETTING, problem=f"{path}: {PREFIX} takes base64") from None
    if len(secret) < SECRET_BYTES_MIN:
        problem = f"{path}: a secret has at least {SECRET_BYTES_MIN} bytes; make one: `openssl rand -base64 32`"
        raise ChannelUnusable(setting=SECRET_SETTING, problem=problem)
    return secret


def _checked(url: str) -> httpx.URL:
    """Return a URL that can be posted to. Raises `ChannelUnusable`, which does not repeat it."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ChannelUnusable(setting=URL_SETTING, problem="it takes https://HOST/… or http://HOST/…")
    return parsed
