"""What stands between the wire and a servicer that answers with a stream? What does for others, and all along."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from gatekeeper.domain import errors
from gatekeeper.domain.access import Caller

from .authentication import Authentication
from .boundary import Boundary, CallInfo, Context, Unreadable, admitting, refuse
from .shares import party
from .streams import Streams, send
from .witness import Witness

# Streams of one party: a screen each for everybody in a large office, and a quarter of what a server takes by default.
PARTY_STREAMS_MAX = 256
# A message is at most 256 KiB of a file, or a thousand lines of an invoice: whoever reads at all takes one within that.
WRITE_TIMEOUT_S = 60.0
# Where nobody can say whether a caller may go on, it is asked again so often.
CONFIRM_INTERVAL_S = 0.5

Request = TypeVar("Request", bound=Message)


class _CallerGone(Exception):
    """Nobody hears any more."""


def guarded_stream(
    method: Callable[[Request, CallInfo], AsyncGenerator[bytes | None]],
    descriptor: MethodDescriptor,
    boundary: Boundary,
    streams: Streams,
) -> Callable[[Request | Unreadable, Context], Awaitable[None]]:
    """Return `method` as the gRPC handler of the server-streaming RPC that `descriptor` describes.

    It yields serialized messages, and None every two seconds at least while it has none: each time it is looked
    whether its caller may still hear them.
    """
    rpc = descriptor.name
    admitted = admitting(descriptor, boundary)
    authentication = boundary.authentication
    witness = Witness(descriptor, boundary.witnesses)

    async def handler(request: Any, context: Context) -> None:
        observed = witness.begin(context)
        try:
            info = await admitted(request, observed)
            caller = info.actor.caller
            async with streams.place(party(rpc, caller, request.organization)):
                unread = None
                async with aclosing(method(request, info)) as messages:
                    async for message in messages:
                        await _confirm(authentication, context, caller)
                        if message is not None and (unread := await _write(context, message)):
                            break
                if unread:
                    # Nothing else goes out before it, not even why the call ends; gRPC keeps it, so the place is taken.
                    await _taken(unread)
                    raise errors.ReadTooSlowly(seconds=f"{WRITE_TIMEOUT_S:.0f}")
        except (_CallerGone, CancelledError):
            witness.abandoned(observed, request)
            raise CancelledError from None
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller hears of it
            try:
                await refuse(witness, observed, request, error)
            except grpc.aio.InternalError:
                # Nobody hears it.
                raise CancelledError from None
        witness.answered(observed, request, None)

    return handler


async def _write(context: Context, message: bytes) -> Future[None] | None:
    """Send a message; return once gRPC takes another, or what waits for that where it takes too long.

    Raises `_CallerGone`.
    """
    try:
        return await send(context, message, WRITE_TIMEOUT_S)
    except grpc.aio.InternalError:
        raise _CallerGone from None


async def _taken(writing: Future[None]) -> None:
    """Wait until gRPC takes more. Raises `_CallerGone`."""
    try:
        await writing
    except grpc.aio.InternalError:
        # It takes no more; of a caller that leaves meanwhile it says so here as often as it cancels the call.
        raise _CallerGone from None


async def _confirm(authentication: Authentication, context: Context, caller: Caller) -> None:
    """Wait until it is known that a caller is still who it was; raise if it is not."""
    while True:
        try:
            if await authentication.caller(context) != caller:
                # An identity that was taken from one and given to another.
                raise errors.TokenRevoked
        except (errors.DatabaseUnavailable, errors.QueueFull):
            await asyncio.sleep(CONFIRM_INTERVAL_S)
        else:
            return
