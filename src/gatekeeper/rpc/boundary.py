"""What stands between the wire and the servicers? Validation before, the table of errors after.

This is a decorator and not a server interceptor: grpc.aio asks interceptors for a handler anew for every call, which
costs as much as the validation itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from gatekeeper.domain import errors

from .statuses import DETAILS_KEY, INTERNAL, details_of, status_of
from .validation import Validator

log = structlog.get_logger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
NO_MESSAGE = "is no message of its type, or a text in it is not UTF-8"

Context = grpc.aio.ServicerContext[Any, Any]


class Admission(Protocol):
    """What the boundary asks before it lets a call in."""

    draining: bool
    away: bool


class CallInfo:
    """What a servicer may know of a call beside its request."""

    __slots__ = ("canonical", "timeout_s")

    def __init__(self, canonical: bytes, timeout_s: float | None) -> None:
        """Keep the request's canonical bytes, and how long its caller still waits (None: for ever)."""
        self.canonical = canonical
        self.timeout_s = timeout_s


class Unreadable:
    """What stands for a request that is no message of its type."""


UNREADABLE = Unreadable()


def reader(parse: Callable[[bytes], Request]) -> Callable[[bytes], Request | Unreadable]:
    """Return a deserializer that lets the handler answer for what it cannot read: gRPC would call it our defect."""

    def read(serialized: bytes) -> Request | Unreadable:
        try:
            return parse(serialized)
        except DecodeError:
            return UNREADABLE

    return read


def guarded(
    method: Callable[[Request, CallInfo], Awaitable[Response]], name: str, validator: Validator, admission: Admission
) -> Callable[[Request | Unreadable, Context], Awaitable[Response]]:
    """Return `method` as a gRPC handler for requests of the full message name `name`."""
    check = validator.checker(name)

    async def handler(request: Request | Unreadable, context: Context) -> Response:
        try:
            if admission.draining:
                raise errors.Draining
            if isinstance(request, Unreadable):
                raise errors.InvalidField(field="request", problem=NO_MESSAGE)
            if admission.away:
                raise errors.DatabaseUnavailable
            canonical = check(request)
            timeout_s = context.time_remaining()
            if timeout_s is not None and timeout_s <= 0:
                raise errors.DeadlineExceeded
            return await method(request, CallInfo(canonical, timeout_s))
        except Exception as error:
            row, message = status_of(error)
            if row is INTERNAL:
                log.exception("rpc.internal", method=name)
            details = details_of(error, row, message)
            await context.abort(row.code, message, ((DETAILS_KEY, details),))
            raise AssertionError from None

    return handler
