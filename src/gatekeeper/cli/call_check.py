"""Could a call be paid? The server decides as it would on the call itself."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from .statuses import amount_text, money_text, room_text, status_document

if TYPE_CHECKING:
    from gatekeeper_client import Client, Denied, Hold


def verdict_on(client: Client, organization: str, call: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict on a reservation that is not made."""
    verdict = client.reserve(organization, **call, validate_only=True)
    answer = _of_denial(verdict) if not verdict.admitted else _of_hold(verdict)
    return {
        "organization": organization,
        "admitted": verdict.admitted,
        **answer,
        "budgets": [status_document(budget) for budget in verdict.budgets],
    }


def _of_hold(hold: Hold) -> dict[str, Any]:
    amount = hold.reservation.amount
    by_override = f", {money_text(hold.override.amount)} of it by an override" if hold.override else ""
    return {
        "message": f"Yes: {money_text(amount)} can be paid{by_override}; {room_text(hold.budgets)}",
        "amount": amount_text(amount),
        "currency": amount.currency_code,
        "would_deny": hold.reservation.would_deny,
        "override_id": hold.override.override_id if hold.override else None,
    }


def _of_denial(denied: Denied) -> dict[str, Any]:
    from gatekeeper_client.v1.reservation_pb2 import DenialReason

    denial = denied.denial
    headroom_at = denial.headroom_time.ToDatetime(UTC).isoformat() if denial.HasField("headroom_time") else None
    priced = denial.HasField("requested")
    return {
        "message": f"No: {denial.message}",
        "reason": DenialReason.Name(denial.reason).removeprefix("DENIAL_REASON_"),
        "amount": amount_text(denial.requested) if priced else None,
        "currency": denial.requested.currency_code if priced else None,
        "shortfall": amount_text(denial.shortfall) if priced else None,
        "headroom_time": headroom_at,
        "floor_percent": denied.floor_percent,
    }
