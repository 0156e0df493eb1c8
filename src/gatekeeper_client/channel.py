"""Where is the server, and how hard is it tried? Address, route, retries and keepalive of both clients' one channel."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gatekeeper_client.credentials import bearer, tls_credentials, tls_files, token_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from gatekeeper_client.credentials import File

TARGET_DEFAULT: Final = "127.0.0.1:50051"
TIMEOUT_S_DEFAULT: Final = 10.0
SECURE_SCHEMES: Final = ("https", "grpcs")
SCHEMES: Final = ("http", "grpc", *SECURE_SCHEMES)
UNIX_SCHEMES: Final = ("unix:", "unix-abstract:")
DIRECT_SCHEMES: Final = re.compile("^(dns:(///)?|ipv[46]:)")  # gRPC's, before plain places

ANSWER_BYTES_MAX: Final = 64 * 2**20

SERVICE_CONFIG: Final = {
    "methodConfig": [
        {
            "name": [{"service": "gatekeeper.v1.GatekeeperService"}, {"service": "gatekeeper.v1.ReportService"}],
            # Safe for all: a call names its reservation or override, sets a value, or reads. A SetCap with an
            # etag may meet its own first try and say ABORTED, which asks for another look, as any stale etag does.
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.05s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A server that stops may cancel the calls under way; each is safe to repeat with its id.
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
            },
        },
    ],
    # In an outage calls soon fail at once, some 10 % more tries than successes: a server that returns is not trampled.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
OPTIONS: Final[tuple[tuple[str, str | int], ...]] = (
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # A dead connection shows within the default deadline. No pings between calls: servers punish them.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC's own first pause is 1 s, longer than all retries together: none would meet a restarted server.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A month's report has a row for each campaign, and soon more than gRPC's own 4 MB; this is some 500,000 rows.
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a server is reached: what gRPC dials, with which credentials (None: in the clear), and what a call shows."""

    address: str
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...] = field(repr=False)  # the token is in it

    @property
    def options(self) -> tuple[tuple[str, str | int], ...]:
        """What the channel is made with. A proxy from the environment is not asked for what is on this machine."""
        return (*OPTIONS, ("grpc.enable_http_proxy", 0)) if is_local(self.address) else OPTIONS


def route_to(
    target: str | None,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    token: str | None = None,
    allow_plaintext: bool = False,
) -> Route:
    """Return how to reach a target; what is not given comes from the environment.

    Raises ValueError for a target, token or file that cannot be used, and for a token that would leave this machine in
    the clear unless `allow_plaintext` or GATEKEEPER_ALLOW_PLAINTEXT says that it may.
    """
    named = target_of(target)
    address = address_of(named)
    if credentials is None:
        credentials = tls_for(named, tls_files())
    metadata = bearer(token_of(token))
    if metadata and credentials is None and not (is_local(address) or allow_plaintext or _may_be_read()):
        msg = (
            f"a token would go to {address} in the clear: reach it by https://, or name its authorities with "
            "GATEKEEPER_CA_FILE; where the network itself is safe, set GATEKEEPER_ALLOW_PLAINTEXT=1"
        )
        raise ValueError(msg)
    return Route(address=address, credentials=credentials, metadata=metadata)


def target_of(given: str | None) -> str:
    """Return the target: the given one, else BILLING_API_URL, else 127.0.0.1:50051."""
    return given or os.environ.get("BILLING_API_URL") or TARGET_DEFAULT


def address_of(target: str) -> str:
    """Return what gRPC dials.

    `http://host:port` and its like lose their scheme; `host:port`, `unix:PATH` and `dns:///…` are gRPC's to read.
    Raises ValueError for a URL with a path or without a port.
    """
    url = urlsplit(target)
    if url.scheme not in SCHEMES:
        return target
    if url.port is None or url.path.strip("/"):
        msg = f"{target!r} is not of the form http://host:port or https://host:port"
        raise ValueError(msg)
    return url.netloc


def tls_for(target: str, files: Mapping[str, File]) -> grpc.ChannelCredentials | None:
    """Return credentials for a target that asks for TLS, or gets it by these files; Unix sockets go without."""
    if target.startswith(UNIX_SCHEMES) or not (files or urlsplit(target).scheme in SECURE_SCHEMES):
        return None
    return tls_credentials(**files)


def is_local(address: str) -> bool:
    """Tell whether what gRPC dials is on this machine for certain: a Unix socket, or nothing but loopback."""
    if address.startswith(UNIX_SCHEMES):
        return True
    return all(_is_loopback(place) for place in DIRECT_SCHEMES.sub("", address).split(","))


def _is_loopback(place: str) -> bool:
    host = place.rpartition(":")[0]
    try:
        return host.lower() == "localhost" or ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _may_be_read() -> bool:
    return os.environ.get("GATEKEEPER_ALLOW_PLAINTEXT", "").lower() in {"1", "true", "yes", "on"}
