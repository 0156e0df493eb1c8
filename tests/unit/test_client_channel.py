"""Which address is dialled for a target, and which calls are retried."""

from __future__ import annotations

import json

import pytest

from gatekeeper_client.channel import OPTIONS, address_of
from gatekeeper_client.v1 import gatekeeper_service_pb2, report_service_pb2


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("10.0.0.7:50051", "10.0.0.7:50051"),
        ("localhost:50051", "localhost:50051"),
        ("http://billing:8080", "billing:8080"),
        ("http://billing:8080/", "billing:8080"),
        ("grpc://[::1]:50051", "[::1]:50051"),
        ("unix:/run/gatekeeper.sock", "unix:/run/gatekeeper.sock"),
        ("unix:///run/gatekeeper.sock", "unix:///run/gatekeeper.sock"),
        ("dns:///billing:8080", "dns:///billing:8080"),
    ],
)
def test_a_url_loses_its_scheme_and_the_rest_is_grpcs(target: str, address: str) -> None:
    """Both ways of writing an address reach the same server."""
    assert address_of(target, secure=False) == address


@pytest.mark.parametrize("target", ["http://billing", "http://billing:8080/v1", "https://billing:443", "http://b:x"])
def test_a_url_that_would_reach_something_else_is_refused(target: str) -> None:
    """No port, a path, or TLS without credentials: gRPC would try and fail with less to say."""
    with pytest.raises(ValueError, match=r"http://host:port|Port"):
        address_of(target, secure=False)


def test_https_is_a_secure_channels_address() -> None:
    """With credentials the scheme is kept as a promise."""
    assert address_of("https://billing:443", secure=True) == "billing:443"


def test_the_environment_names_the_server_where_the_program_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument before BILLING_API_URL before 127.0.0.1:50051."""
    monkeypatch.delenv("BILLING_API_URL", raising=False)
    assert address_of(None, secure=False) == "127.0.0.1:50051"
    monkeypatch.setenv("BILLING_API_URL", "http://billing:8080")
    assert address_of(None, secure=False) == "billing:8080"
    assert address_of("other:1", secure=False) == "other:1"


def test_every_service_of_the_contract_is_retried() -> None:
    """A service that is added without a retry policy is found here."""
    (method,) = json.loads(str(dict(OPTIONS)["grpc.service_config"]))["methodConfig"]
    files = (gatekeeper_service_pb2.DESCRIPTOR, report_service_pb2.DESCRIPTOR)
    contract = {service.full_name for file in files for service in file.services_by_name.values()}
    assert {name["service"] for name in method["name"]} == contract
