"""What does a caller run into that asks for too much? Limits that the installation has set below the contract's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper.domain.access import Role
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from tests.conftest import verify

from .conftest import _database, _served
from .refusals import refusal
from .secured import Secured

Code = grpc.StatusCode
RATE = 20
LIMITS = {
    "CALLS_PER_S_MAX": str(RATE),
    "OPEN_HOLDS_PER_CALLER_MAX": "3",
    "OPEN_HOLDS_MAX": "5",
    "HOLD_SHARE_PERCENT_MAX": "50",
    "HOLD_TTL_MAX_S": "60",
    "HOLD_LIFE_MAX_S": "100",
    "LABELS_MAX": "2",
    "TEXT_LENGTH_MAX": "40",
    "SWEEP_INTERVAL_S": "0.05",
}


@pytest.fixture(scope="session")
def limited(postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return a server of this worker with limits that are soon reached."""
    settings = {f"GATEKEEPER_{name}": value for name, value in LIMITS.items()}
    with _database(postgres, template, "contract_limited") as url:
        with _served(url, tmp_path_factory.mktemp("limited"), GATEKEEPER_INSECURE="0", **settings) as wire:
            yield Secured(wire)
        assert verify(url) == []


@pytest.fixture
def ours(limited: Secured) -> str:
    """Open an organization with a cap of 100 for one test."""
    name = uuid.uuid4().hex
    _patiently(
        limited,
        "SetCap",
        pb.SetCapRequest(organization=name, cap=to_money(100, "USD"), window=budget_pb2.BUDGET_WINDOW_MONTH),
        limited.operator,
    )
    return name


def _patiently(limited: Secured, rpc: str, request: Any, token: str) -> Any:
    """Call as the operator, who shares its rate with the other tests of this worker."""
    while True:
        try:
            return limited.call(rpc, request, token)
        except grpc.RpcError as error:
            if refusal(_raise, error).reason != "RATE_LIMITED":
                raise
            time.sleep(1 / RATE)


def agent(limited: Secured, organization: str) -> str:
    """Make an agent's token."""
    request = admin_pb.CreateTokenRequest(
        organization=organization, name=uuid.uuid4().hex, role=admin_pb.Role.Value(f"ROLE_{Role.AGENT}")
    )
    answer: admin_pb.CreateTokenResponse = _patiently(limited, "CreateToken", request, limited.operator)
    return answer.secret


def reserve(organization: str, amount: int = 1, **fields: Any) -> pb.ReserveRequest:
    """Return a request to hold some dollars."""
    return pb.ReserveRequest(organization=organization, amount=to_money(amount, "USD"), **fields)


def test_a_caller_above_its_rate_is_told_when_to_try_again(limited: Secured, ours: str) -> None:
    """Some calls at once are fine; then it is RATE_LIMITED with RetryInfo, for this caller alone."""
    loud, calm = agent(limited, ours), agent(limited, ours)
    status = pb.GetStatusRequest(organization=ours)
    refused: Any = None
    while refused is None:
        try:
            limited.call("GetStatus", status, loud)
        except grpc.RpcError as error:
            refused = error
    trailers: Any = refused.trailing_metadata()
    found = refusal(_raise, refused)
    pushback = next(value for name, value in trailers if name == "grpc-retry-pushback-ms")
    assert (found.code, found.reason) == (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert found.retry_delay_s == int(pushback) / 1000
    assert limited.call("GetStatus", status, calm)


def _raise(error: Exception) -> None:
    raise error


def test_a_caller_has_only_so_many_open_holds(limited: Secured, ours: str) -> None:
    """The next one is TOO_MANY_HOLDS, and writes nothing; one that ends makes room; repeating an open one is fine."""
    token = agent(limited, ours)
    held = [limited.call("Reserve", reserve(ours, reservation_id=f"r{n}"), token).reservation for n in range(3)]
    refused = refusal(limited.call, "Reserve", reserve(ours), token)
    assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_HOLDS")
    assert refused.retry_delay_s == 1
    assert limited.call("Reserve", reserve(ours, reservation_id="r0"), token).reservation == held[0]
    limited.call("Release", pb.ReleaseRequest(organization=ours, reservation_id="r1"), token)
    assert limited.call("Reserve", reserve(ours, reservation_id="r3"), token).HasField("reservation")


def test_an_organization_has_only_so_many_open_holds(limited: Secured, ours: str) -> None:
    """However many callers it has; and a hold that expires makes room."""
    first, second = agent(limited, ours), agent(limited, ours)
    for token, count in ((first, 3), (second, 2)):
        for _ in range(count):
            limited.call("Reserve", reserve(ours, ttl=Duration(seconds=1)), token)
    refused = refusal(limited.call, "Reserve", reserve(ours), second)
    assert (refused.reason, refused.metadata["most"]) == ("TOO_MANY_HOLDS", "5")
    deadline = time.monotonic() + 20
    while limited.wire.sql("SELECT 1 FROM reservations WHERE organization = %s AND state = 'HELD'", ours):
        assert time.monotonic() < deadline
    assert limited.call("Reserve", reserve(ours), second).HasField("reservation")


def test_one_hold_takes_only_its_share_of_a_budget(limited: Secured, ours: str) -> None:
    """Half of the cap is fine and a cent more is HOLD_TOO_LARGE, by Reserve and by Extend."""
    token = agent(limited, ours)
    refused = refusal(limited.call, "Reserve", reserve(ours, 51), token)
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "HOLD_TOO_LARGE")
    assert refused.metadata["most"] == "50.00 USD"
    limited.call("Reserve", reserve(ours, 49, reservation_id="r"), token)
    more = pb.ExtendRequest(organization=ours, reservation_id="r", amount=to_money(51, "USD"))
    assert refusal(limited.call, "Extend", more, token).reason == "HOLD_TOO_LARGE"
    more.amount.units = 50
    assert limited.call("Extend", more, token).HasField("reservation")


def test_what_is_denied_is_denied_first(limited: Secured, ours: str) -> None:
    """A hold that there is no money for is a denial, and in the trail as one, however large it is."""
    token = agent(limited, ours)
    answer = limited.call("Reserve", reserve(ours, 101), token)
    assert answer.HasField("denial")
    assert limited.wire.sql("SELECT reason FROM denials WHERE organization = %s", ours) == [("OUT_OF_BUDGET",)]


def test_a_ttl_has_an_end(limited: Secured, ours: str) -> None:
    """Longer than the installation lets a hold stand is INVALID_ARGUMENT; without one it is as long as may be."""
    token = agent(limited, ours)
    refused = refusal(limited.call, "Reserve", reserve(ours, ttl=Duration(seconds=60, nanos=1)), token)
    assert (refused.code, *refused.violations) == (Code.INVALID_ARGUMENT, "ttl")
    held = limited.call("Reserve", reserve(ours), token).reservation
    assert held.expire_time.ToSeconds() - held.create_time.ToSeconds() == 60


def test_an_override_lasts_longer_than_a_hold(limited: Secured, ours: str) -> None:
    """How long holds may stand says nothing of overrides; how long ids may be does."""
    token = limited.token(Role.ADMIN, ours)
    asked = pb.SetOverrideRequest(
        organization=ours, enabled=True, max_amount=to_money(1), ttl=Duration(seconds=86_401), reason="why"
    )
    assert limited.call("SetOverride", asked, token).HasField("override")
    asked.reservation = "i" * 41
    assert list(refusal(limited.call, "SetOverride", asked, token).violations) == ["reservation"]


def test_a_hold_has_an_end_however_often_it_is_extended(limited: Secured, ours: str) -> None:
    """Extending is a heartbeat and fine, until the hold is as old as a hold may be."""
    token = agent(limited, ours)
    limited.call("Reserve", reserve(ours, reservation_id="r"), token)
    limited.wire.sql("UPDATE reservations SET created_at = created_at - interval '50 s' WHERE organization = %s", ours)
    longer = pb.ExtendRequest(organization=ours, reservation_id="r", ttl=Duration(seconds=60))
    refused = refusal(limited.call, "Extend", longer, token)
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "HOLD_TOO_LONG")
    longer.ttl.seconds = 45
    assert limited.call("Extend", longer, token).HasField("reservation")


@pytest.mark.parametrize(
    ("field", "fields"), [("labels", {"labels": {"a": "", "b": "", "c": ""}}), ("campaign", {"campaign": "c" * 41})]
)
def test_labels_and_texts_have_an_end(limited: Secured, ours: str, field: str, fields: dict[str, Any]) -> None:
    """What is beyond the installation's limits is INVALID_ARGUMENT and names the field."""
    refused = refusal(limited.call, "Reserve", reserve(ours, **fields), agent(limited, ours))
    assert (refused.code, *refused.violations) == (Code.INVALID_ARGUMENT, field)
