"""How is an alert told, and how far it has come, to people and to programs?"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from .output import shown
from .override_texts import instant_text, minute_text
from .statuses import amount_text, scope_document, window_of

if TYPE_CHECKING:
    from gatekeeper_client.v1.alert_pb2 import Alert, AlertDelivery

COLUMNS = ("Time (UTC)", "Kind", "What", "Deliveries")


def kind_of(alert: Alert) -> str:
    """Return the name of an alert's kind."""
    from gatekeeper_client.v1.alert_pb2 import AlertKind

    return AlertKind.Name(alert.kind).removeprefix("ALERT_KIND_")


def state_of(delivery: AlertDelivery) -> str:
    """Return the name of a delivery's state."""
    from gatekeeper_client.v1.alert_pb2 import DeliveryState

    return DeliveryState.Name(delivery.state).removeprefix("DELIVERY_STATE_")


def alert_document(alert: Alert) -> dict[str, Any]:
    """Return an alert for programs: amounts are strings."""
    return {
        "alert_id": alert.alert_id,
        "organization": alert.organization,
        "kind": kind_of(alert),
        "message": alert.message,
        "event_time": instant_text(alert.event_time),
        "subject": alert.subject,
        "budget": _budget_document(alert) if alert.HasField("scope") else None,
        "deliveries": [delivery_document(delivery) for delivery in alert.deliveries],
    }


def _budget_document(alert: Alert) -> dict[str, Any]:
    from gatekeeper_client.v1.alert_pb2 import AlertBasis

    basis = AlertBasis.Name(alert.basis).removeprefix("ALERT_BASIS_")
    return {
        "scope": scope_document(alert.scope),
        "window": window_of(alert.window),
        "period": alert.period,
        "basis": None if basis == "UNSPECIFIED" else basis,
        "threshold": alert.threshold or None,
        **{name: amount_text(getattr(alert, name)) for name in ("cap", "spent", "reserved")},
    }


def delivery_document(delivery: AlertDelivery) -> dict[str, Any]:
    """Return how far an alert has come on one channel, for programs."""
    return {
        "channel": delivery.channel,
        "state": state_of(delivery),
        "attempts": delivery.attempts,
        "next_attempt_time": instant_text(delivery.next_attempt_time),
        "deliver_time": instant_text(delivery.deliver_time),
        "last_error": delivery.last_error,
    }


def alert_row(alert: Alert) -> list[str]:
    """Return the COLUMNS of an alert."""
    return [
        minute_text(alert.event_time),
        kind_of(alert),
        shown(alert.message),
        "\n".join(map(delivery_text, alert.deliveries)) or "on its way",
    ]


def delivery_text(delivery: AlertDelivery) -> str:
    """Tell in a line how far an alert has come on one channel."""
    state = state_of(delivery)
    if state == "DELIVERED":
        return f"{delivery.channel} delivered"
    tries = "1 attempt" if delivery.attempts == 1 else f"{delivery.attempts} attempts"
    error = f": {shown(delivery.last_error)}" if delivery.last_error else ""
    if state == "DEAD":
        return f"{delivery.channel} given up after {tries}{error}"
    if not delivery.last_error:
        return f"{delivery.channel} under way"
    return f"{delivery.channel} failed ({tries}), next at {_clock_text(delivery)}{error}"


def _clock_text(delivery: AlertDelivery) -> str:
    return f"{delivery.next_attempt_time.ToDatetime(UTC):%H:%M:%S} UTC"
