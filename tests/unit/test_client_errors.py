"""Each status becomes the error that says what to do."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError, Metadata

from gatekeeper_client import (
    BudgetDenied,
    Conflict,
    GatekeeperError,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unauthorized,
    Unavailable,
)
from gatekeeper_client.errors import from_rpc_error

if TYPE_CHECKING:
    from google.protobuf.message import Message

CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
}
BAD_AMOUNT = BadRequest.FieldViolation(field="amount.nanos", description="at most 999999999")


def rpc_error(code: grpc.StatusCode, message: str, *details: Message) -> AioRpcError:
    """Return what grpc.aio raises for a status with details."""
    packed = [AnyMessage() for _ in details]
    for box, detail in zip(packed, details, strict=True):
        box.Pack(detail)
    number: int = code.value[0]
    status = Status(code=number, message=message, details=packed)
    return AioRpcError(code, Metadata(), Metadata(("grpc-status-details-bin", status.SerializeToString())), message)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_each_status_has_one_class(code: grpc.StatusCode) -> None:
    """What nobody foresaw is an InternalError; all are GatekeeperErrors that keep their code."""
    error = from_rpc_error(AioRpcError(code, Metadata(), Metadata(), "no verdict"))
    assert type(error) is CLASSES.get(code, InternalError)
    assert isinstance(error, GatekeeperError)
    assert (error.code, error.message, error.reason, error.retry_delay) == (code, "no verdict", "", None)


def test_a_caller_without_the_right_is_one_thing_to_catch() -> None:
    """Whether the token or the right is missing: more of the same will not help."""
    assert Unauthenticated.__base__ is PermissionDenied.__base__ is Unauthorized


def test_an_error_says_all_that_the_server_said() -> None:
    """Reason, metadata and fields are there, and in one line."""
    error = from_rpc_error(
        rpc_error(
            grpc.StatusCode.INVALID_ARGUMENT,
            "The request is malformed.",
            ErrorInfo(reason="INVALID_FIELD", domain="gatekeeper", metadata={"organization": "acme"}),
            BadRequest(field_violations=[BAD_AMOUNT]),
        )
    )
    assert (error.reason, error.metadata, error.field_violations) == (
        "INVALID_FIELD",
        {"organization": "acme"},
        (BAD_AMOUNT,),
    )
    assert str(error) == ("INVALID_ARGUMENT INVALID_FIELD: The request is malformed.; amount.nanos: at most 999999999")


def test_the_servers_pause_is_a_timedelta() -> None:
    """RetryInfo tells when to come back; a pause of nothing is one too."""
    for pause in (timedelta(milliseconds=250), timedelta(0)):
        delay = Duration()
        delay.FromTimedelta(pause)
        error = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, "draining", RetryInfo(retry_delay=delay)))
        assert error.retry_delay == pause


@pytest.mark.parametrize("details", [b"\xff\xff", Status(code=3, message="another").SerializeToString()])
def test_mangled_details_do_not_hide_the_status(details: bytes) -> None:
    """The code and the message still stand."""
    metadata = Metadata(("grpc-status-details-bin", details))
    error = from_rpc_error(AioRpcError(grpc.StatusCode.NOT_FOUND, Metadata(), metadata, "unknown organization"))
    assert (type(error), str(error)) == (NotFound, "NOT_FOUND: unknown organization")


def test_an_error_survives_pickling() -> None:
    """Worker processes can hand it to their parent whole."""
    error = from_rpc_error(
        rpc_error(grpc.StatusCode.ABORTED, "changed", ErrorInfo(reason="ETAG_MISMATCH", metadata={"etag": "7"}))
    )
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copy), vars(copy), str(copy)) == (Conflict, vars(error), str(error))


def test_a_denial_is_no_error_without_a_verdict() -> None:
    """`except GatekeeperError: go on` does not go on after a no."""
    assert not issubclass(BudgetDenied, GatekeeperError)
