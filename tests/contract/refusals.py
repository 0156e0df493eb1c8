"""Why was there no verdict? The status with all its details, once they are as promised for every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A status that is not OK, with its details; `violations` by field path."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]
    retry_delay_s: float | None


def refusal(call: Callable[..., object], *arguments: Any, **named: Any) -> Refusal:
    """Make a call that must end without a verdict; return why, once its details are as promised for every one."""
    try:
        answer = call(*arguments, **named)
    except grpc.RpcError as error:
        return refusal_of(error)
    raise AssertionError(answer)


def refusal_of(error: Any) -> Refusal:
    """Return what a status tells."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    assert status.message == error.details()
    cause = _detail(status, ErrorInfo)
    assert cause is not None
    assert cause.domain == "gatekeeper"
    bad_request, retry = _detail(status, BadRequest), _detail(status, RetryInfo)
    violations = bad_request.field_violations if bad_request else ()
    return Refusal(
        code=error.code(),
        message=error.details(),
        reason=cause.reason,
        metadata=dict(cause.metadata),
        violations={violation.field: violation.description for violation in violations},
        retry_delay_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _detail(status: Any, kind: type[Message]) -> Any:
    """Return the only detail of a kind, or None."""
    found = []
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    assert len(found) <= 1
    return found[0] if found else None
