"""How do requests for alerts become filters, and alerts messages?"""

from __future__ import annotations

from collections.abc import Sequence

from gatekeeper.domain.alert_deliveries import Delivery, DeliveryState, Notice, ToldAlert
from gatekeeper.domain.alerts import AlertBasis, AlertKind
from gatekeeper.domain.errors import InvalidField
from gatekeeper.services.alerts import AlertFilters, AlertPage
from gatekeeper_client.v1 import alert_pb2
from gatekeeper_client.v1 import report_service_pb2 as pb

from .money import write_money
from .paging import FOREIGN, write_token
from .translate import WINDOWS, write_scope, write_time

KINDS = {kind: alert_pb2.AlertKind.Value(f"ALERT_KIND_{kind}") for kind in AlertKind}
KIND_OF = {value: kind for kind, value in KINDS.items()}
STATES = {state: alert_pb2.DeliveryState.Value(f"DELIVERY_STATE_{state}") for state in DeliveryState}
STATE_OF = {value: state for state, value in STATES.items()}
BASES = {basis: alert_pb2.AlertBasis.Value(f"ALERT_BASIS_{basis}") for basis in AlertBasis}
NUMBER_MAX = 2**63 - 1


def read_filters(request: pb.ListAlertsRequest) -> AlertFilters:
    """Read which alerts are asked for."""
    return AlertFilters(kind=KIND_OF.get(request.kind), state=STATE_OF.get(request.delivery_state))


def read_position(parts: Sequence[str] | None) -> int | None:
    """Read where the page before ended. Raises `InvalidField`."""
    if parts is None:
        return None
    try:
        alert_id = int(parts[0])
    except ValueError as error:
        raise InvalidField(field="page_token", problem=FOREIGN) from error
    if abs(alert_id) > NUMBER_MAX:
        raise InvalidField(field="page_token", problem=FOREIGN)
    return alert_id


def write_page(request: pb.ListAlertsRequest, page: AlertPage) -> pb.ListAlertsResponse:
    """Write a page of alerts."""
    position = None if page.after is None else (str(page.after),)
    return pb.ListAlertsResponse(
        alerts=[_write_told(told) for told in page.alerts], next_page_token=write_token(request, position)
    )


def _write_told(told: ToldAlert) -> alert_pb2.Alert:
    written = write_alert(told.notice)
    written.deliveries.extend(map(_write_delivery, told.deliveries))
    return written


def write_alert(notice: Notice) -> alert_pb2.Alert:
    """Write an alert without its deliveries."""
    alert = notice.alert
    written = alert_pb2.Alert(
        alert_id=str(notice.alert_id),
        organization=notice.organization,
        kind=KINDS[alert.kind],
        message=alert.message,
        event_time=write_time(alert.occurred_at),
        subject=alert.subject,
        threshold=alert.threshold,
    )
    if alert.basis is not None:
        written.basis = BASES[alert.basis]
    if alert.key is not None:
        written.scope.CopyFrom(write_scope(alert.key.scope))
        written.window = WINDOWS[alert.key.window]
        written.period = alert.key.period
        for name in ("cap", "spent", "reserved"):
            getattr(written, name).CopyFrom(write_money(getattr(alert, name), notice.currency))
    return written


def _write_delivery(delivery: Delivery) -> alert_pb2.AlertDelivery:
    is_pending = delivery.state is DeliveryState.PENDING
    return alert_pb2.AlertDelivery(
        channel=delivery.channel,
        state=STATES[delivery.state],
        attempts=delivery.attempts,
        next_attempt_time=write_time(delivery.next_attempt_at if is_pending else None),
        deliver_time=write_time(delivery.delivered_at),
        last_error=delivery.last_error,
    )
