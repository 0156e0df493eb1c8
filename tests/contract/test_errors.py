"""Does every reason come with its code, and a time to come back where that helps, and only there?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from gatekeeper.domain.audit import AuditKey
from gatekeeper.rpc.admin import AdminServicer
from gatekeeper.rpc.authentication import Authentication
from gatekeeper.rpc.boundary import Boundary
from gatekeeper.rpc.gatekeeper import GatekeeperServicer
from gatekeeper.rpc.health import Health
from gatekeeper.rpc.listen import listen
from gatekeeper.rpc.peers import Peers
from gatekeeper.rpc.reports import ReportServicer
from gatekeeper.rpc.request_limits import RequestLimits
from gatekeeper.rpc.server import SERVICES, build_server
from gatekeeper.rpc.shares import Shares
from gatekeeper.rpc.streams import Streams
from gatekeeper.rpc.validation import Validator
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from gatekeeper_client.v1 import reservation_pb2
from gatekeeper_client.v1.error_reason_pb2 import ErrorReason
from gatekeeper_client.v1.gatekeeper_service_pb2_grpc import GatekeeperServiceStub

from .refusals import Refusal, refusal, refusal_of
from .wire import TIMEOUT_S, Wire

Code = grpc.StatusCode
# These need a server in trouble, another time, one that asks for tokens, or limits that are soon reached: see
# test_overload, test_outage, test_periods, test_rights, test_admin, test_limits, test_overrides, test_invoices and
# those beside them, and below. Of the deadline only its caller sees, of a certificate without a role
# test_vouched_callers.
ELSEWHERE = {
    "TOKEN_MISSING",
    "TOKEN_INVALID",
    "TOKEN_EXPIRED",
    "TOKEN_REVOKED",
    "TOKEN_EXISTS",
    "TOKEN_NOT_FOUND",
    "ROLE_INSUFFICIENT",
    "OUT_OF_SCOPE",
    "IDENTITY_UNMAPPED",
    "RATE_LIMITED",
    "TOO_MANY_HOLDS",
    "HOLD_TOO_LARGE",
    "HOLD_TOO_LONG",
    "QUEUE_FULL",
    "DATABASE_UNAVAILABLE",
    "INTERNAL",
    "DRAINING",
    "OVERRIDE_MISMATCH",
    "OVERRIDE_NEEDS_ANOTHER",
    "OVERRIDE_NOT_FOUND",
    "OVERRIDE_OVER",
    "PERIOD_NOT_OVER",
    "PERIOD_OVER",
    "RESERVATION_IN_USE",
    "TOO_MANY_OVERRIDES",
    "RESERVATION_EXPIRED",
    "DEADLINE_EXCEEDED",
    "INVOICE_NOT_FOUND",
    "INVOICE_NOT_CREDITABLE",
    "NOTHING_TO_INVOICE",
    "BILLING_INCOMPLETE",
    "FORMAT_UNAVAILABLE",
}
RETRYABLE = {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE}


def scope_not_found(wire: Wire, organization: str) -> Refusal:
    """Name a campaign that is not known where it must be."""
    wire.cap(organization, "1")
    wire.sql("UPDATE organizations SET known_scopes = true WHERE organization = %s", organization)
    return refusal(wire.reserve, organization, "1", campaign="sprnig")


def mismatch(wire: Wire, organization: str) -> Refusal:
    """Use an id twice."""
    wire.hold(organization, "1", reservation_id="same")
    return refusal(wire.reserve, organization, "2", reservation_id="same")


def committed(wire: Wire, organization: str) -> Refusal:
    """Release what was committed."""
    held = wire.hold(organization)
    wire.commit(held, "1")
    return refusal(wire.release, held)


def released(wire: Wire, organization: str) -> Refusal:
    """Extend what was released."""
    held = wire.hold(organization)
    wire.release(held)
    return refusal(wire.extend, held)


def ambiguous(wire: Wire, organization: str) -> Refusal:
    """Name an id that two organizations use."""
    for name in (organization, f"{organization}2"):
        wire.hold(name, reservation_id=organization)
    return refusal(wire.release, reservation_pb2.Reservation(reservation_id=organization))


def stale(wire: Wire, organization: str) -> Refusal:
    """Change what has changed since."""
    etag = wire.cap(organization, "1").etag
    wire.cap(organization, "2")
    return refusal(wire.cap, organization, "3", etag=etag)


def foreign(wire: Wire, organization: str) -> Refusal:
    """Reserve in another currency."""
    request = pb.ReserveRequest(organization=organization, amount=to_money(1, "EUR"))
    return refusal(wire.gatekeeper.Reserve, request, timeout=TIMEOUT_S)


def unpriced(wire: Wire, organization: str) -> Refusal:
    """Commit usage of a model without a price."""
    usage = reservation_pb2.TokenUsage(model="my-own-model", input_tokens=1)
    return refusal(wire.commit, wire.hold(organization), usage=usage)


def unknown(wire: Wire, organization: str) -> Refusal:
    """Release what nobody made."""
    return refusal(wire.release, reservation_pb2.Reservation(reservation_id="job-0", organization=organization))


def to_come(wire: Wire, organization: str) -> Refusal:
    """Ask for the statement of a month that has not begun."""
    wire.open(organization)
    request = report_pb.GetStatementRequest(organization=organization, period="9999-12")
    return refusal(wire.reports.GetStatement, request, timeout=TIMEOUT_S)


REASONS: dict[str, tuple[Code, Callable[[Wire, str], Refusal]]] = {
    "INVALID_FIELD": (Code.INVALID_ARGUMENT, lambda wire, organization: refusal(wire.reserve, organization)),
    "ORGANIZATION_NOT_FOUND": (Code.NOT_FOUND, lambda wire, organization: refusal(wire.status, organization)),
    "SCOPE_NOT_FOUND": (Code.NOT_FOUND, scope_not_found),
    "RESERVATION_NOT_FOUND": (Code.NOT_FOUND, unknown),
    "RESERVATION_MISMATCH": (Code.ALREADY_EXISTS, mismatch),
    "ALREADY_COMMITTED": (Code.FAILED_PRECONDITION, committed),
    "ALREADY_RELEASED": (Code.FAILED_PRECONDITION, released),
    "AMOUNT_BELOW_HELD": (
        Code.FAILED_PRECONDITION,
        lambda wire, organization: refusal(wire.extend, wire.hold(organization, "2"), "1"),
    ),
    "CURRENCY_MISMATCH": (Code.FAILED_PRECONDITION, foreign),
    "UNPRICED_MODEL": (Code.FAILED_PRECONDITION, unpriced),
    "RESERVATION_AMBIGUOUS": (Code.INVALID_ARGUMENT, ambiguous),
    "ETAG_MISMATCH": (Code.ABORTED, stale),
    "PERIOD_NOT_OVER": (Code.FAILED_PRECONDITION, to_come),
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_has_its_code(wire: Wire, organization: str, reason: str) -> None:
    """The reason is the enum's name without its prefix; only INVALID_ARGUMENT names fields; none says to try again."""
    code, provoke = REASONS[reason]
    refused = provoke(wire, organization)
    assert (refused.code, refused.reason) == (code, reason)
    assert bool(refused.violations) == (code == Code.INVALID_ARGUMENT)
    assert refused.retry_delay_s is None


def test_there_are_no_other_reasons() -> None:
    """Every value of the enum is shown by some test."""
    names = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name}
    assert names == set(REASONS) | ELSEWHERE | {"UNSPECIFIED"}


def test_a_server_that_stops_says_so() -> None:
    """While it drains a server refuses every call as UNAVAILABLE, with a time to come back elsewhere."""

    async def call() -> Refusal:
        health: Any = Health(SERVICES)
        health.draining = True
        nothing: Any = None
        boundary = Boundary(
            admission=health,
            authentication=Authentication(None, Peers().identities),
            rates=None,
            limits=RequestLimits(),
            validator=Validator(),
            shares=Shares(),
        )
        server = build_server(
            GatekeeperServicer(nothing, nothing, nothing, nothing),
            ReportServicer(
                reports=nothing,
                budgets=nothing,
                trail=nothing,
                alerts=nothing,
                grants=nothing,
                watches=nothing,
                spending=nothing,
                statements=nothing,
                splits=nothing,
                monthly=nothing,
                invoices=nothing,
            ),
            AdminServicer(reads=nothing, writes=nothing, audit_key=AuditKey(), invoices=nothing),
            health,
            boundary,
            streams=Streams(1),
            exports=Streams(1),
            message_bytes_max=65_536,
            concurrent_streams_max=8,
        )
        address = listen(server, "127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                stub: Any = GatekeeperServiceStub(channel)
                await stub.Reserve(pb.ReserveRequest(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)
        finally:
            await server.stop(0)
        raise AssertionError

    refused = asyncio.run(call())
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "DRAINING")
    assert refused.retry_delay_s == 0.1
