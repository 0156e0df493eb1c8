"""Which address is dialled for a target, what a call shows there, and which calls are retried."""

from __future__ import annotations

import json

import grpc
import pytest

from gatekeeper_client import tls_credentials
from gatekeeper_client.channel import OPTIONS, address_of, is_local, route_to, target_of
from gatekeeper_client.v1 import gatekeeper_service_pb2, report_service_pb2

SHOWN = (("authorization", "Bearer s3cret"),)


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("10.0.0.7:50051", "10.0.0.7:50051"),
        ("localhost:50051", "localhost:50051"),
        ("http://billing:8080", "billing:8080"),
        ("http://billing:8080/", "billing:8080"),
        ("https://billing:443", "billing:443"),
        ("grpc://[::1]:50051", "[::1]:50051"),
        ("unix:/run/gatekeeper.sock", "unix:/run/gatekeeper.sock"),
        ("unix:///run/gatekeeper.sock", "unix:///run/gatekeeper.sock"),
        ("dns:///billing:8080", "dns:///billing:8080"),
    ],
)
def test_a_url_loses_its_scheme_and_the_rest_is_grpcs(target: str, address: str) -> None:
    """Both ways of writing an address reach the same server."""
    assert address_of(target) == address


@pytest.mark.parametrize("target", ["http://billing", "http://billing:8080/v1", "https://billing", "http://b:x"])
def test_a_url_that_would_reach_something_else_is_refused(target: str) -> None:
    """No port, or a path: gRPC would try and fail with less to say."""
    with pytest.raises(ValueError, match=r"http://host:port|Port"):
        address_of(target)


def test_the_environment_names_the_server_where_the_program_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument before BILLING_API_URL before 127.0.0.1:50051."""
    assert target_of(None) == "127.0.0.1:50051"
    monkeypatch.setenv("BILLING_API_URL", "http://billing:8080")
    assert target_of(None) == "http://billing:8080"
    assert target_of("other:1") == "other:1"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "127.8.8.8:1",
        "localhost:50051",
        "LOCALHOST:50051",
        "[::1]:50051",
        "unix:/run/gatekeeper.sock",
        "unix:gatekeeper.sock",
        "unix-abstract:gatekeeper",
        "dns:localhost:50051",
        "dns:///localhost:50051",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "ipv6:[::1]:1",
    ],
)
def test_loopback_and_unix_sockets_are_this_machine(address: str) -> None:
    """What is said there stays there."""
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.7:50051",
        "billing:50051",
        "localhost.example.com:50051",
        "localhost:80@example.com:1",
        "127.0.0.1:80@example.com:1",
        "127.0.0.1.example.com:1",
        "127.0.0.1#.example.com:1",
        "[::2]:1",
        "ipv4:127.0.0.1:1,10.0.0.7:1",
        "dns://10.0.0.7/localhost:1",
        "xds:///localhost:1",
        "vsock:1:2",
        "localhost",
        "",
    ],
)
def test_everything_else_is_a_network(address: str) -> None:
    """What is not certain to stay on the machine counts as leaving it."""
    assert not is_local(address)


def test_no_token_leaves_the_machine_in_the_clear() -> None:
    """It is refused before anything is sent, and the refusal does not show it."""
    with pytest.raises(ValueError, match=r"billing:50051 in the clear.*GATEKEEPER_ALLOW_PLAINTEXT") as caught:
        route_to("billing:50051", token="s3cret")
    assert "s3cret" not in repr(caught.value)
    assert route_to("billing:50051").metadata == ()
    assert route_to("127.0.0.1:50051", token="s3cret").metadata == SHOWN


def test_a_safe_network_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the program, or by whoever runs it."""
    assert route_to("billing:50051", token="s3cret", allow_plaintext=True).metadata == SHOWN
    monkeypatch.setenv("GATEKEEPER_ALLOW_PLAINTEXT", "0")
    with pytest.raises(ValueError, match="in the clear"):
        route_to("billing:50051", token="s3cret")
    monkeypatch.setenv("GATEKEEPER_ALLOW_PLAINTEXT", "true")
    assert route_to("billing:50051", token="s3cret").metadata == SHOWN


def test_https_is_tls() -> None:
    """With the public authorities, unless there are credentials."""
    own = tls_credentials()
    assert isinstance(route_to("https://billing:443", token="s3cret").credentials, grpc.ChannelCredentials)
    assert route_to("https://billing:443", credentials=own).credentials is own
    assert route_to("billing:443", credentials=own, token="s3cret").metadata == SHOWN
    assert route_to("http://127.0.0.1:1").credentials is None


def test_a_route_does_not_show_its_token() -> None:
    """Neither do the messages that have it in them."""
    assert "s3cret" not in repr(route_to("127.0.0.1:50051", token="s3cret"))


def test_a_proxy_is_not_asked_for_this_machine() -> None:
    """It would look for the server on its own loopback, and see the token."""
    assert dict(route_to("127.0.0.1:50051").options)["grpc.enable_http_proxy"] == 0
    assert "grpc.enable_http_proxy" not in dict(route_to("billing:50051").options)


def test_every_service_of_the_contract_is_retried() -> None:
    """A service that is added without a retry policy is found here."""
    (method,) = json.loads(str(dict(OPTIONS)["grpc.service_config"]))["methodConfig"]
    files = (gatekeeper_service_pb2.DESCRIPTOR, report_service_pb2.DESCRIPTOR)
    contract = {service.full_name for file in files for service in file.services_by_name.values()}
    assert {name["service"] for name in method["name"]} == contract
    assert not {"UNAUTHENTICATED", "PERMISSION_DENIED"} & set(method["retryPolicy"]["retryableStatusCodes"])
