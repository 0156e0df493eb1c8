"""How does what a caller says read on the wire? One request for each call, of both clients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper_client.ids import new_reservation_id
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate
from gatekeeper_client.v1 import report_service_pb2 as report
from gatekeeper_client.v1.budget_pb2 import PriorityFloor, Scope, ScopeKind
from gatekeeper_client.v1.reservation_pb2 import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatekeeper_client import fields
    from gatekeeper_client.fields import ScopeLike, Span


def reserve_request(organization: str, hold: fields.Reserve) -> gate.ReserveRequest:
    """Ask for a hold, under a new id unless one is given."""
    _exactly_one(hold, "amount", "tokens")
    request = gate.ReserveRequest(organization=organization, **wire(hold))
    request.reservation_id = request.reservation_id or new_reservation_id()
    return request


def commit_request(organization: str, reservation_id: str, cost: fields.Commit) -> gate.CommitRequest:
    """Tell the real cost, and what came of it if anything is known."""
    _exactly_one(cost, "amount", "usage")
    given = wire(cost)
    metrics = {name: given.pop(name) for name in Metrics.DESCRIPTOR.fields_by_name if name in given}
    given["metrics"] = Metrics(**metrics) if metrics else None
    return gate.CommitRequest(organization=organization, reservation_id=reservation_id, **given)


def set_override_request(organization: str, override: fields.SetOverride) -> gate.SetOverrideRequest:
    """Turn an override on or off; say which, or for which calls, in one way. One that is made gets an id."""
    _at_most_one(override, "scope", "reservation", "override_id")
    request = gate.SetOverrideRequest(organization=organization, **wire(override))
    if request.enabled and not (request.override_id or request.request_id):
        request.request_id = new_reservation_id()
    return request


def request_override_request(organization: str, override: fields.RequestOverride) -> gate.RequestOverrideRequest:
    """Ask the admins for an override; say for which calls in one way."""
    _at_most_one(override, "scope", "reservation")
    return gate.RequestOverrideRequest(organization=organization, **wire(override))


def list_overrides_request(organization: str, which: fields.Overrides) -> report.ListOverridesRequest:
    """Ask for overrides."""
    return report.ListOverridesRequest(organization=organization, **wire(which, state="OVERRIDE_STATE_{}".format))


def list_alerts_request(organization: str, which: fields.Alerts) -> report.ListAlertsRequest:
    """Ask for alerts."""
    return report.ListAlertsRequest(organization=organization, **wire(which, kind="ALERT_KIND_{}".format))


def list_invoices_request(organization: str, which: fields.Invoices) -> report.ListInvoicesRequest:
    """Ask for invoices."""
    return report.ListInvoicesRequest(organization=organization, **wire(which, kind="INVOICE_KIND_{}".format))


def export_invoice_request(organization: str, which: fields.ExportInvoice) -> gate.ExportInvoiceRequest:
    """Ask for an invoice and its files."""
    return gate.ExportInvoiceRequest(organization=organization, **wire(which))


def wire(given: Mapping[str, object], **special: Callable[[Any], object]) -> dict[str, Any]:
    """Return the fields as a message takes them; raises TypeError and ValueError for bad values.

    `special` are fields that read otherwise in this message than in others.
    """
    return {
        name: (special.get(name) or WIRE.get(name, _same))(value)
        for name, value in given.items()
        if name != "timeout_s"
    }


def turn(request: Any, page: Any) -> bool:
    """Point a list's request at the page after this one; False after the last."""
    request.page_token = page.next_page_token
    return bool(page.next_page_token)


def _exactly_one(given: Mapping[str, object], one: str, other: str) -> None:
    """Refuse none and both: the message would quietly keep the last."""
    if (one in given) == (other in given):
        msg = f"give either {one} or {other}"
        raise TypeError(msg)


def _at_most_one(given: Mapping[str, object], *names: str) -> None:
    """Refuse several: the message would quietly keep the last."""
    if sum(name in given for name in names) > 1:
        msg = f"give one of {', '.join(names)}"
        raise TypeError(msg)


def _same(value: object) -> object:
    return value


def _scope(scope: ScopeLike) -> Scope:
    return scope if isinstance(scope, Scope) else Scope(kind=ScopeKind.Value(f"SCOPE_KIND_{scope[0]}"), id=scope[1])


def _duration(span: Span) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span if isinstance(span, timedelta) else timedelta(seconds=span))
    return duration


def _timestamp(instant: datetime) -> Timestamp:
    """Return an instant; refuse one without a time zone, which would be taken for UTC."""
    if instant.tzinfo is None:
        msg = f"{instant} has no time zone; give it one, such as datetime.UTC"
        raise ValueError(msg)
    timestamp = Timestamp()
    timestamp.FromDatetime(instant.astimezone(UTC))
    return timestamp


def _priority(priority: str | int) -> str | int:
    return f"PRIORITY_{priority}" if isinstance(priority, str) else priority


def _floors(floors: Mapping[str, int]) -> list[PriorityFloor]:
    return [PriorityFloor(priority=f"PRIORITY_{name}", percent=percent) for name, percent in floors.items()]  # type: ignore[arg-type]


WIRE: Final[Mapping[str, Callable[[Any], object]]] = {
    **dict.fromkeys(("amount", "cap", "revenue", "max_amount"), to_money),
    **dict.fromkeys(("ttl", "latency"), _duration),
    **dict.fromkeys(("start_time", "end_time", "as_of"), _timestamp),
    "scope": _scope,
    "scopes": lambda scopes: [_scope(scope) for scope in scopes],
    "priority": _priority,
    "floors": _floors,
    # Messages take enum values by name.
    "scope_kind": "SCOPE_KIND_{}".format,
    "window": "BUDGET_WINDOW_{}".format,
    "enforcement": "ENFORCEMENT_{}".format,
    "outcome": "OUTCOME_{}".format,
    "state": "RESERVATION_STATE_{}".format,
    "kind": "EXECUTION_KIND_{}".format,
    "action": "AUDIT_ACTION_{}".format,
    "delivery_state": "DELIVERY_STATE_{}".format,
    "formats": lambda formats: [f"INVOICE_FORMAT_{name}" for name in formats],
}
