"""How do requests for the audit trail become filters, and its entries messages?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gatekeeper.domain.audit import AuditAction, AuditSource
from gatekeeper.domain.errors import InvalidField
from gatekeeper.services.audit_trail import AuditEntry, AuditFilters, AuditPage, Position
from gatekeeper_client.v1 import audit_pb2
from gatekeeper_client.v1 import report_service_pb2 as pb

from .paging import FOREIGN, read_instant, write_token
from .translate import write_time

ACTIONS = {action: audit_pb2.AuditAction.Value(f"AUDIT_ACTION_{action}") for action in AuditAction}
ACTION_OF = {value: action for action, value in ACTIONS.items()}
NUMBER_MAX = 2**63 - 1


def read_filters(request: pb.ListAuditEventsRequest) -> AuditFilters:
    """Read which entries are asked for. Raises `InvalidField`."""
    return AuditFilters(
        action=ACTION_OF.get(request.action),
        actor=request.actor,
        since=_read_time(request, "start_time"),
        until=_read_time(request, "end_time"),
    )


def read_position(parts: Sequence[str] | None) -> Position | None:
    """Read where the page before ended. Raises `InvalidField`."""
    if parts is None:
        return None
    try:
        source, number = AuditSource(parts[1]), int(parts[2])
    except ValueError as error:
        raise InvalidField(field="page_token", problem=FOREIGN) from error
    if abs(number) > NUMBER_MAX:
        raise InvalidField(field="page_token", problem=FOREIGN)
    return read_instant(parts[0]), source, number


def write_page(request: pb.ListAuditEventsRequest, page: AuditPage) -> pb.ListAuditEventsResponse:
    """Write a page of the trail."""
    position = page.after and (page.after[0], page.after[1], str(page.after[2]))
    return pb.ListAuditEventsResponse(
        audit_events=[_write(entry) for entry in page.entries], next_page_token=write_token(request, position)
    )


def _write(entry: AuditEntry) -> audit_pb2.AuditEvent:
    return audit_pb2.AuditEvent(
        event_id=f"{entry.source.lower()}-{entry.source_id}",
        organization=entry.organization,
        event_time=write_time(entry.occurred_at),
        action=ACTIONS[entry.action] if entry.action else audit_pb2.AUDIT_ACTION_UNSPECIFIED,
        actor=entry.actor,
        actor_role=entry.actor_role,
        peer=entry.peer,
        subject=entry.subject,
        before_json=entry.before_json,
        after_json=entry.after_json,
        reason=entry.reason,
        sequence=entry.sequence,
        link=entry.link.hex(),
        actor_token_id=entry.actor_token_id,
    )


def _read_time(request: pb.ListAuditEventsRequest, field: str) -> datetime | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    try:
        instant: datetime = getattr(request, field).ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field=field, problem="must be an instant between the years 1 and 9999") from error
    return instant
