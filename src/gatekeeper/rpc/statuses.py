"""Which status does each error become on the wire? The table below is the only place that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gatekeeper.domain import errors
from gatekeeper_client.v1.error_reason_pb2 import ErrorReason

DOMAIN = "gatekeeper"
DETAILS_KEY = "grpc-status-details-bin"
PREFIX = "ERROR_REASON_"


@dataclass(frozen=True, slots=True)
class Status:
    """A row of the table. `retry_delay_ms` goes into RetryInfo where trying again helps."""

    code: grpc.StatusCode
    reason: ErrorReason.ValueType
    retry_delay_ms: int | None = None


TABLE: dict[type[errors.GatekeeperError], Status] = {
    errors.InvalidField: Status(grpc.StatusCode.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_INVALID_FIELD),
    errors.OrganizationNotFound: Status(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_ORGANIZATION_NOT_FOUND),
    errors.ScopeNotFound: Status(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_SCOPE_NOT_FOUND),
    errors.BudgetNotFound: Status(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_SCOPE_NOT_FOUND),
    errors.ReservationNotFound: Status(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_RESERVATION_NOT_FOUND),
    errors.OverrideNotFound: Status(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_OVERRIDE_NOT_FOUND),
    errors.TokenNotFound: Status(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_TOKEN_NOT_FOUND),
    errors.TokenMissing: Status(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_MISSING),
    errors.TokenInvalid: Status(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_INVALID),
    errors.TokenExpired: Status(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_EXPIRED),
    errors.TokenRevoked: Status(grpc.StatusCode.UNAUTHENTICATED, ErrorReason.ERROR_REASON_TOKEN_REVOKED),
    errors.RoleInsufficient: Status(grpc.StatusCode.PERMISSION_DENIED, ErrorReason.ERROR_REASON_ROLE_INSUFFICIENT),
    errors.OutOfScope: Status(grpc.StatusCode.PERMISSION_DENIED, ErrorReason.ERROR_REASON_OUT_OF_SCOPE),
    errors.IdentityUnmapped: Status(grpc.StatusCode.PERMISSION_DENIED, ErrorReason.ERROR_REASON_IDENTITY_UNMAPPED),
    errors.TokenExists: Status(grpc.StatusCode.ALREADY_EXISTS, ErrorReason.ERROR_REASON_TOKEN_EXISTS),
    errors.ReservationMismatch: Status(grpc.StatusCode.ALREADY_EXISTS, ErrorReason.ERROR_REASON_RESERVATION_MISMATCH),
    errors.OverrideMismatch: Status(grpc.StatusCode.ALREADY_EXISTS, ErrorReason.ERROR_REASON_OVERRIDE_MISMATCH),
    errors.AlreadyCommitted: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_ALREADY_COMMITTED),
    errors.AlreadyReleased: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_ALREADY_RELEASED),
    errors.ReservationExpired: Status(
        grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_RESERVATION_EXPIRED
    ),
    errors.AmountBelowHeld: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_AMOUNT_BELOW_HELD),
    errors.PeriodOver: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_PERIOD_OVER),
    errors.HoldTooLarge: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_HOLD_TOO_LARGE),
    errors.HoldTooLong: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_HOLD_TOO_LONG),
    errors.CurrencyMismatch: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_CURRENCY_MISMATCH),
    errors.UnpricedModel: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_UNPRICED_MODEL),
    errors.OverrideOver: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_OVERRIDE_OVER),
    errors.OverrideNeedsAnother: Status(
        grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_OVERRIDE_NEEDS_ANOTHER
    ),
    errors.ReservationInUse: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_RESERVATION_IN_USE),
    errors.InvoiceNotFound: Status(grpc.StatusCode.NOT_FOUND, ErrorReason.ERROR_REASON_INVOICE_NOT_FOUND),
    errors.PeriodNotOver: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_PERIOD_NOT_OVER),
    errors.InvoiceNotCreditable: Status(
        grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_INVOICE_NOT_CREDITABLE
    ),
    errors.NothingToInvoice: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_NOTHING_TO_INVOICE),
    errors.BillingIncomplete: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_BILLING_INCOMPLETE),
    errors.FormatUnavailable: Status(grpc.StatusCode.FAILED_PRECONDITION, ErrorReason.ERROR_REASON_FORMAT_UNAVAILABLE),
    errors.ReservationAmbiguous: Status(
        grpc.StatusCode.INVALID_ARGUMENT, ErrorReason.ERROR_REASON_RESERVATION_AMBIGUOUS
    ),
    errors.EtagMismatch: Status(grpc.StatusCode.ABORTED, ErrorReason.ERROR_REASON_ETAG_MISMATCH),
    errors.QueueFull: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_QUEUE_FULL, 100),
    errors.RateLimited: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_RATE_LIMITED, 250),
    errors.TestedAlready: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_RATE_LIMITED, 60_000),
    errors.TooManyHolds: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_HOLDS, 1000),
    errors.TooManyOverrides: Status(
        grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_TOO_MANY_OVERRIDES, 1000
    ),
    errors.TooManyStreams: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, ErrorReason.ERROR_REASON_QUEUE_FULL, 1000),
    errors.DatabaseUnavailable: Status(
        grpc.StatusCode.UNAVAILABLE, ErrorReason.ERROR_REASON_DATABASE_UNAVAILABLE, 1000
    ),
    errors.Draining: Status(grpc.StatusCode.UNAVAILABLE, ErrorReason.ERROR_REASON_DRAINING, 100),
    errors.ReadTooSlowly: Status(grpc.StatusCode.DEADLINE_EXCEEDED, ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED),
    errors.DeadlineExceeded: Status(grpc.StatusCode.DEADLINE_EXCEEDED, ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED),
}
# gRPC clients take a status of up to 8 kB, and turn a longer one into an error of their own. In the message a character
# takes up to 12 bytes; the details hold it once more, and come in base 64.
VIOLATIONS_BYTES_MAX = 2500
VIOLATIONS_TOLD = 2
FIELD_LENGTH_MAX = 72

INTERNAL = Status(grpc.StatusCode.INTERNAL, ErrorReason.ERROR_REASON_INTERNAL)
INTERNAL_TEXT = "Something unforeseen happened; the server's log has the cause. Try again once with the same ids."


class InvalidRequest(errors.GatekeeperError):
    """The request breaks {count} of its fields' rules: {fields}."""

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        """Take (field path, what it takes) pairs."""
        self.violations = _foremost([(_cut(field), what) for field, what in violations])
        told = [f"{field} {what}" for field, what in self.violations[:VIOLATIONS_TOLD]]
        more = ["…"] * (len(violations) > len(told))
        super().__init__(count=str(len(violations)), fields="; ".join(told + more))


def _foremost(violations: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """Return as many as fit into a status, at least one."""
    size = 0
    for index, (field, what) in enumerate(violations):
        size += len(field.encode()) + len(what.encode())
        if index and size > VIOLATIONS_BYTES_MAX:
            return violations[:index]
    return violations


def _cut(field: str) -> str:
    return field if len(field) <= FIELD_LENGTH_MAX else field[: FIELD_LENGTH_MAX - 1] + "…"


def status_of(error: Exception) -> tuple[Status, str]:
    """Return the row of an error, and its message."""
    if isinstance(error, InvalidRequest):
        return TABLE[errors.InvalidField], str(error)
    row = TABLE.get(type(error)) if isinstance(error, errors.GatekeeperError) else None
    return (row, str(error)) if row else (INTERNAL, INTERNAL_TEXT)


def details_of(error: Exception, row: Status, message: str) -> bytes:
    """Return the rich error: a serialized google.rpc.Status with ErrorInfo, BadRequest and RetryInfo."""
    status = status_pb2.Status(code=code_pb2.Code.Value(row.code.name), message=message)
    metadata = error.metadata if isinstance(error, errors.GatekeeperError) else {}
    if isinstance(error, InvalidRequest):
        metadata = {}
    reason = ErrorReason.Name(row.reason).removeprefix(PREFIX)
    _pack(status, error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    if violations := _violations(error):
        bad_request = error_details_pb2.BadRequest()
        for field, what in violations:
            bad_request.field_violations.add(field=field, description=what)
        _pack(status, bad_request)
    if row.retry_delay_ms is not None:
        _pack(
            status,
            error_details_pb2.RetryInfo(
                retry_delay=Duration(nanos=row.retry_delay_ms * 1_000_000 % 10**9, seconds=row.retry_delay_ms // 1000)
            ),
        )
    return status.SerializeToString()


def _violations(error: Exception) -> Sequence[tuple[str, str]]:
    if isinstance(error, InvalidRequest):
        return error.violations
    if isinstance(error, errors.InvalidField):
        return [(error.metadata["field"], error.metadata["problem"])]
    if isinstance(error, errors.ReservationAmbiguous):
        return [("organization", "is needed: several have a reservation of this id")]
    return []


def _pack(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)
