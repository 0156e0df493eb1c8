"""What must a caller do when there is no verdict? One class for each answer.

All but BudgetDenied are GatekeeperErrors: "no verdict, so do not make the call, unless your own policy says otherwise".
BudgetDenied is a verdict and stands apart: a policy of going on without one must not go on after a no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from gatekeeper_client.v1.reservation_pb2 import Denial

M = TypeVar("M", bound=Message)


class GatekeeperError(Exception):
    """There is no verdict.

    `code` is gRPC's; `reason` and `metadata` are those of `error_reason.proto`, without its prefix and empty when no
    server answered; `retry_delay` is what the server asks for, or None; `trace_id` finds the call in the server's log.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        field_violations: Iterable[BadRequest.FieldViolation] = (),
        retry_delay: timedelta | None = None,
        metadata: Mapping[str, str] | None = None,
        trace_id: str = "",
    ) -> None:
        """Keep the parts; `args` has the message only, so that the error can be pickled."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field_violations = tuple(field_violations)
        self.retry_delay = retry_delay
        self.metadata = dict(metadata or {})
        self.trace_id = trace_id

    def __str__(self) -> str:
        """Return code, reason, message and fields in one line."""
        fields = "".join(f"; {violation.field}: {violation.description}" for violation in self.field_violations)
        return f"{' '.join(filter(None, (self.code.name, self.reason)))}: {self.message}{fields}"


class InvalidRequest(GatekeeperError):
    """A field is malformed: mend what `field_violations` names."""


class Unauthorized(GatekeeperError):
    """The server does not do this for this caller, however often it is asked: get a token, or the right."""


class Unauthenticated(Unauthorized):
    """Who calls is not known: show a token, or a certificate, that is in force."""


class PermissionDenied(Unauthorized):
    """Who calls is known and may not do this: ask for another role, or keep to what the token is for."""


class NotFound(GatekeeperError):
    """No such organization, scope or reservation: mend the name, or open it first."""


class Conflict(GatekeeperError):
    """What is there does not allow it (another content, an ended hold, a stale etag): look again, then decide anew."""


class Overloaded(GatekeeperError):
    """Too many calls wait and nothing was done: come back after `retry_delay`."""


class Unavailable(GatekeeperError):
    """No answer in time, and what happened is not known: try again with the same ids."""


class InternalError(GatekeeperError):
    """A defect of the server: try once more with the same ids, then report it."""


class BudgetDenied(Exception):
    """A budget has no room: `denial` says which, how much it lacks, and why in a sentence."""

    def __init__(self, denial: Denial) -> None:
        """Keep the verdict."""
        super().__init__(denial)
        self.denial = denial

    def __str__(self) -> str:
        """Return the sentence."""
        return self.denial.message


CLASSES: Final = {
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


def from_rpc_error(error: grpc.RpcError, trace_id: str = "") -> GatekeeperError:
    """Return our error for gRPC's, with the details that the server attached."""
    try:
        status = rpc_status.from_call(cast("grpc.Call", error)) or Status()
    except (ValueError, DecodeError):  # mangled on the way; the code still stands
        status = Status()
    cause, retry = _detail(status, ErrorInfo), _detail(status, RetryInfo)
    return CLASSES.get(error.code(), InternalError)(
        error.details() or "no message",
        code=error.code(),
        reason=cause.reason,
        field_violations=_detail(status, BadRequest).field_violations,
        retry_delay=retry.retry_delay.ToTimedelta() if retry.HasField("retry_delay") else None,
        metadata=cause.metadata,
        trace_id=trace_id,
    )


def _detail(status: Status, kind: type[M]) -> M:
    """Return the detail of a kind, an empty one when there is none."""
    found = kind()
    next((True for detail in status.details if detail.Unpack(found)), None)
    return found
