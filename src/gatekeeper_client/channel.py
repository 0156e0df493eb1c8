"""Where is the server, and how hard is it tried? Address, retries and keepalive of both clients' one channel."""

from __future__ import annotations

import json
import os
from typing import Final
from urllib.parse import urlsplit

TARGET_DEFAULT: Final = "127.0.0.1:50051"
TIMEOUT_S_DEFAULT: Final = 10.0
SCHEMES: Final = ("http", "grpc", "https", "grpcs")

SERVICE_CONFIG: Final = {
    "methodConfig": [
        {
            "name": [{"service": "gatekeeper.v1.GatekeeperService"}, {"service": "gatekeeper.v1.ReportService"}],
            # Safe for all methods: a call names its reservation, sets a value, or reads. A SetCap with an etag may meet
            # its own first try and say ABORTED, which asks for another look, as any stale etag does.
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A server that stops may cancel the calls under way; each is safe to repeat with its id.
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
            },
        }
    ],
    # In an outage calls soon fail at once, some 10 % more tries than successes: a server that returns is not trampled.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
OPTIONS: Final = (
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # A dead connection shows within the default deadline. No pings between calls: servers punish them.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC's own first pause is 1 s, longer than all retries together: none would meet a restarted server.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def address_of(target: str | None, *, secure: bool) -> str:
    """Return what gRPC dials: the target, else BILLING_API_URL, else 127.0.0.1:50051.

    `http://host:port` and its like lose their scheme; `host:port`, `unix:PATH` and `dns:///…` are gRPC's to read.
    Raises ValueError for a URL with a path or without a port, and for `https` on an insecure channel.
    """
    address = target or os.environ.get("BILLING_API_URL") or TARGET_DEFAULT
    url = urlsplit(address)
    if url.scheme not in SCHEMES:
        return address
    if url.port is None or url.path.strip("/") or (url.scheme.endswith("s") and not secure):
        msg = f"{address!r} is not of the form http://host:port (https takes credentials)"
        raise ValueError(msg)
    return url.netloc


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata that shows a token."""
    return (("authorization", f"Bearer {token}"),) if token else ()
