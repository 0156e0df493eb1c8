"""What stands between the wire and the servicers? Who calls, whether it may, validation; the table of errors after.

This is a decorator and not a server interceptor: grpc.aio asks interceptors for a handler anew for every call, which
costs as much as the validation itself.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message

from gatekeeper.domain import errors
from gatekeeper.domain.access import Actor

from .authentication import Authentication
from .authorization import authorize
from .call_rates import CallRates
from .request_limits import RequestLimits
from .shares import ON_RESERVATIONS, Shares, party
from .statuses import DETAILS_KEY, INTERNAL, Status, details_of, status_of
from .validation import Validator
from .witness import NOBODY, Observed, Witness, Witnesses

# Tells gRPC clients that try again by themselves when to.
PUSHBACK_KEY = "grpc-retry-pushback-ms"

log = structlog.get_logger(__name__)

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
NO_MESSAGE = "is no message of its type, or a text in it is not UTF-8"

Context = grpc.aio.ServicerContext[Any, Any]


class Admission(Protocol):
    """Whether calls are let in at all."""

    draining: bool
    away: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """What the boundary asks before it lets a call in, and whom it tells of calls that have ended.

    Without `rates`, callers are not told apart, nor slowed down.
    """

    admission: Admission
    authentication: Authentication
    rates: CallRates | None
    limits: RequestLimits
    validator: Validator
    shares: Shares
    witnesses: Witnesses = NOBODY


class CallInfo:
    """What a servicer may know of a call beside its request."""

    __slots__ = ("actor", "canonical", "timeout_s")

    def __init__(self, actor: Actor, canonical: bytes, timeout_s: float | None) -> None:
        """Keep who calls, the request's canonical bytes, and how long its caller still waits (None: for ever)."""
        self.actor = actor
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
    method: Callable[[Request, CallInfo], Awaitable[Response]], descriptor: MethodDescriptor, boundary: Boundary
) -> Callable[[Request | Unreadable, Context], Awaitable[Response]]:
    """Return `method` as the gRPC handler of the unary RPC that `descriptor` describes."""
    rpc = descriptor.name
    answer = method if rpc in ON_RESERVATIONS else _shared(method, rpc, boundary)
    admitted = admitting(descriptor, boundary)
    witness = Witness(descriptor, boundary.witnesses)

    async def handler(request: Any, context: Context) -> Response:
        observed = witness.begin(context)
        try:
            info = await admitted(request, observed)
            response = await answer(request, info)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller hears of it
            await refuse(witness, observed, request, error)
            raise AssertionError from None
        except CancelledError:
            witness.abandoned(observed, request)
            raise
        witness.answered(observed, request, response)
        return response

    return handler


def admitting(
    descriptor: MethodDescriptor, boundary: Boundary
) -> Callable[[Message | Unreadable, Observed], Awaitable[CallInfo]]:
    """Return what lets in calls of an RPC, one call and request at a time.

    It returns what the servicer may know of the call, or raises why there is no verdict.
    """
    rpc = descriptor.name
    check = boundary.validator.checker(descriptor.input_type.full_name)
    admission, authentication, rates = boundary.admission, boundary.authentication, boundary.rates
    limit = boundary.limits.checker(descriptor.input_type)
    monotonic_s = time.monotonic

    async def admitted(request: Message | Unreadable, observed: Observed) -> CallInfo:
        if admission.draining:
            raise errors.Draining
        context = observed.context
        caller = await authentication.caller(context)
        observed.caller = caller.name
        if rates is not None:
            rates.count(caller.caller_id, monotonic_s())
        if isinstance(request, Unreadable):
            raise errors.InvalidField(field="request", problem=NO_MESSAGE)
        if admission.away:
            raise errors.DatabaseUnavailable
        canonical = check(request)
        authorize(caller, rpc, request)
        if limit is not None:
            limit(request)
        timeout_s = context.time_remaining()
        if timeout_s is not None and timeout_s <= 0:
            raise errors.DeadlineExceeded
        return CallInfo(Actor(caller, context.peer()), canonical, timeout_s)

    return admitted


async def refuse(witness: Witness, observed: Observed, request: Any, error: Exception) -> None:
    """End a call that has no verdict; log what is unforeseen."""
    row, _ = status_of(error)
    if row is INTERNAL:
        log.error("rpc.internal", method=witness.rpc, exc_info=error)
    witness.refused(observed, request, row)
    await observed.context.abort(*refusal_of(error))


def _shared(
    method: Callable[[Any, CallInfo], Awaitable[Response]], rpc: str, boundary: Boundary
) -> Callable[[Any, CallInfo], Awaitable[Response]]:
    """Let nobody have more than its share of the calls of `method`."""
    admission, shares = boundary.admission, boundary.shares

    async def answer(request: Any, info: CallInfo) -> Response:
        async with shares.place(party(rpc, info.actor.caller, request.organization)):
            # Whoever waited through the beginning of an outage must not wait for it once more, one after the other.
            if admission.away:
                raise errors.DatabaseUnavailable
            return await method(request, info)

    return answer


def refusal_of(error: Exception) -> tuple[grpc.StatusCode, str, Sequence[tuple[str, str | bytes]]]:
    """Return what a call is aborted with: the status of an error, and all that is to be told of it."""
    row, message = status_of(error)
    return row.code, message, ((DETAILS_KEY, details_of(error, row, message)), *_pushback(row))


def _pushback(row: Status) -> Sequence[tuple[str, str]]:
    if row.code is not grpc.StatusCode.RESOURCE_EXHAUSTED or row.retry_delay_ms is None:
        return ()
    return ((PUSHBACK_KEY, str(row.retry_delay_ms)),)
