"""What happens to bytes that are no request, to fields from the future, and to requests of extreme size?"""

from __future__ import annotations

import grpc
import pytest

from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import reservation_pb2

from .refusals import refusal
from .requests import VALID, full_name, names_in, valid
from .wire import TIMEOUT_S, Wire, campaign

UNKNOWN_FIELD = b"\xf8\x07\x01"  # number 127, a varint
GARBAGE = {
    "text": b"GET / HTTP/1.1",
    "zeros": b"\0" * 64,
    "ones": b"\xff" * 64,
    "cut": b"\x12\x7fabc",
    "endless number": b"\x58" + b"\xff" * 16,
    "group": b"\x0b",
    "not UTF-8": b"\x12\x02\xff\xfe",
    "half a character": b"\x12\x03\xed\xa0\x80",
    "overlong character": b"\x12\x02\xc0\x80",
}
NAMES = [
    "'; DROP TABLE organizations; --",
    "%s%(x)s{0}{x}$1?",
    '"\\u0000\\',
    "null",
    "NaN",
    "😀" * 128,
    "ß" * 128,
    "a\u00a0b\u3000c",
    "../../etc/passwd",
    "-",
]


@pytest.mark.parametrize("name", VALID)
def test_garbage(wire: Wire, name: str) -> None:
    """What is no message of its type is INVALID_ARGUMENT, and leaves no trace."""
    before = wire.counts()
    for bad, serialized in GARBAGE.items():
        refused = refusal(wire.send_raw, full_name(name), serialized)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, bad
        assert refused.violations, bad
    assert wire.counts() == before


@pytest.mark.parametrize("name", VALID)
def test_fields_from_the_future(wire: Wire, name: str) -> None:
    """A field that the server does not know might bound the call: it is refused, not left out."""
    before = wire.counts()
    request = valid(name)
    refused = refusal(wire.send_raw, full_name(name), request.SerializeToString() + UNKNOWN_FIELD)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert list(refused.violations) == ["unknown"]
    assert wire.counts() == before


@pytest.mark.parametrize(
    ("name", "path"), [("Reserve", b"\x4a"), ("Reserve", b"\x5a"), ("Commit", b"\x32"), ("SetCap", b"\x12")]
)
def test_fields_from_the_future_inside(wire: Wire, name: str, path: bytes) -> None:
    """So is one inside a message of the request."""
    inside = path + bytes([len(UNKNOWN_FIELD)]) + UNKNOWN_FIELD
    refused = refusal(wire.send_raw, full_name(name), valid(name).SerializeToString() + inside)
    assert "unknown" in refused.violations


@pytest.mark.parametrize(
    "path",
    [
        "/gatekeeper.v1.GatekeeperService/Refund",
        "/gatekeeper.v2.GatekeeperService/Reserve",
        "/gatekeeper.v1.ReportService/Reserve",
        "/",
        "/x",
    ],
)
def test_an_unknown_method(wire: Wire, path: str) -> None:
    """What there is not is UNIMPLEMENTED, by gRPC itself."""
    with pytest.raises(grpc.RpcError) as caught:
        wire.send_raw(path, b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("size", [70_000, 10_000_000])
@pytest.mark.parametrize("name", ["Reserve", "GetStatus", "ListExecutions"])
def test_a_message_that_is_too_large(wire: Wire, name: str, size: int) -> None:
    """Refused by gRPC before it is read, and the connection goes on serving."""
    before = wire.counts()
    request = valid(name)
    request.organization = "x" * size
    with pytest.raises(grpc.RpcError) as caught:
        wire.send_raw(full_name(name), request.SerializeToString())
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert wire.counts() == before


def test_the_largest_valid_request(wire: Wire, organization: str) -> None:
    """Every field at its longest, in characters of four bytes, passes and comes back."""
    labels = {f"{number:02}" + "😀" * 61: "😀" * 255 for number in range(32)}
    fields = dict.fromkeys(("department", "campaign", "agent", "agent_type", "run", "task"), "😀" * 128)
    held = wire.hold(organization, "1", reservation_id="😀" * 120 + organization[-8:], labels=labels, **fields)
    assert dict(held.labels) == labels
    assert held.task == fields["task"]
    answer = wire.commit(held, "1", labels={"😁" * 63: "😁" * 255})
    assert len(answer.execution.labels) == 33
    assert wire.executions(organization) == [answer.execution]


@pytest.mark.parametrize("name", NAMES)
def test_any_printable_name(wire: Wire, organization: str, name: str) -> None:
    """A name is kept as it is, wherever it stands, and never read as anything else."""
    owner = f"{name[:100]}{organization[-20:]}"
    fields = dict.fromkeys(("department", "campaign", "agent", "agent_type", "run", "task"), name)
    wire.cap(owner, "5", campaign(name), reason=name)
    held = wire.hold(owner, "1", reservation_id=name + "1"[: 128 - len(name)], labels={"k": name}, **fields)
    assert (held.organization, held.campaign, held.labels["k"]) == (owner, name, name)
    assert wire.deny(owner, "6", campaign=name).budget.scope == campaign(name)
    assert refusal(wire.extend, held, "0.5").metadata["reservation_id"] == held.reservation_id
    wire.commit(held, "1")
    (execution,) = wire.executions(owner, campaign=name, run=name)
    assert execution.agent == name
    assert refusal(wire.status, f"{owner[:120]}?").metadata == {"organization": f"{owner[:120]}?"}


def test_as_many_violations_as_a_status_can_carry(wire: Wire) -> None:
    """A request that is wrong everywhere gets an answer that arrives: the first violations, and how many there are."""
    request = pb.GetStatusRequest(organization="o", scopes=[campaign("😀" * 129)] * 100, period="x" * 9_000)
    refused = refusal(wire.gatekeeper.GetStatus, request, timeout=TIMEOUT_S)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert len(refused.violations) > 10
    assert "101 of its fields" in refused.message


def test_a_violation_with_a_long_name(wire: Wire) -> None:
    """A label's key is part of the path, and may be what is wrong: it is cut, and the answer arrives."""
    request = valid("Reserve")
    request.labels.clear()
    request.labels.update({f"{number}" + "\U0001f600" * 400: "v" for number in range(32)})
    refused = refusal(wire.gatekeeper.Reserve, request, timeout=TIMEOUT_S)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert all(field.startswith("labels[") and len(field) <= 72 for field in refused.violations)


@pytest.mark.parametrize("name", ["Commit", "Extend", "Release"])
def test_the_longest_error(wire: Wire, name: str) -> None:
    """An error that repeats a name of 128 characters of four bytes arrives whole."""
    request = valid(name)
    for _, owner, field in names_in(request):
        setattr(owner, field, "😀" * 128)
    refused = refusal(getattr(wire.gatekeeper, name), request, timeout=TIMEOUT_S)
    assert refused.metadata == {"reservation_id": "😀" * 128}


def test_the_longest_error_of_all(wire: Wire, organization: str) -> None:
    """So does one that repeats two of them."""
    owner = "😀" * 120 + organization[-8:]
    wire.cap(owner, "1")
    wire.sql("UPDATE organizations SET known_scopes = true WHERE organization = %s", owner)
    refused = refusal(wire.reserve, owner, "1", campaign="😀" * 128)
    assert refused.metadata == {"organization": owner, "kind": "campaign", "id": "😀" * 128}


def test_the_longest_denial(wire: Wire, organization: str) -> None:
    """A denial's sentence may be as long as the names in it."""
    wire.cap(organization, "1", campaign("😀" * 128))
    assert "😀" * 128 in wire.deny(organization, "2", campaign="😀" * 128).message


def test_a_message_without_any_byte(wire: Wire) -> None:
    """An empty request is a request with no field set, and told what it lacks."""
    refused = refusal(wire.send_raw, full_name("Reserve"), b"")
    assert set(refused.violations) == {"organization", "estimate"}


def test_a_field_that_comes_twice(wire: Wire, organization: str) -> None:
    """The last one counts, as protobuf says; of a choice too."""
    first = pb.ReserveRequest(organization="x", amount=to_money(9))
    last = pb.ReserveRequest(organization=organization, tokens=reservation_pb2.TokenEstimate(input_tokens=1000))
    answer = wire.send_raw(full_name("Reserve"), first.SerializeToString() + last.SerializeToString())
    reservation = pb.ReserveResponse.FromString(answer).reservation
    assert (reservation.organization, reservation.amount.nanos) == (organization, 40_000_000)
