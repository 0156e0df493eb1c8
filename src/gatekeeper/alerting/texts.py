"""What does a channel tell of an alert? The same fields to programs, and a title and a sentence to people."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from gatekeeper.domain.alert_deliveries import Notice
from gatekeeper.domain.alerts import AlertKind
from gatekeeper.domain.money import plain

TITLES = {
    AlertKind.THRESHOLD: "budget threshold crossed",
    AlertKind.RESOLVED: "budget below its threshold again",
    AlertKind.BURN_RATE: "budget will not last",
    AlertKind.RUNAWAY: "runaway stopped",
    AlertKind.OVERRIDE_REQUESTED: "override waits for an admin",
    AlertKind.VERIFICATION_FAILED: "the books do not add up",
    AlertKind.TEST: "test alert",
}


def title(notice: Notice) -> str:
    """Return a line for people: whose, and what happened."""
    return f"{notice.organization or 'Gatekeeper'}: {TITLES[notice.alert.kind]}"


def event_time(notice: Notice) -> str:
    """Return when it came about, as RFC 3339 has it."""
    return notice.alert.occurred_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def fields(notice: Notice) -> dict[str, Any]:
    """Return all that is known of an alert, for JSON: as ListAlerts has it, amounts as text, without empty fields."""
    alert = notice.alert
    told: dict[str, Any] = {
        "alert_id": str(notice.alert_id),
        "organization": notice.organization,
        "kind": alert.kind.value,
        "message": alert.message,
        "event_time": event_time(notice),
        "subject": alert.subject,
        **_budget(notice),
    }
    return {name: value for name, value in told.items() if value != ""}


def _budget(notice: Notice) -> dict[str, Any]:
    alert = notice.alert
    if alert.key is None:
        return {}
    (kind, scope_id), window, period = alert.key
    told: dict[str, Any] = {
        "scope": {"kind": kind.value, "id": scope_id},
        "window": window.value,
        "period": period,
        "currency": notice.currency,
        **{name: plain(getattr(alert, name)) for name in ("cap", "spent", "reserved")},
    }
    return told | ({} if alert.basis is None else {"basis": alert.basis.value, "threshold": alert.threshold})
