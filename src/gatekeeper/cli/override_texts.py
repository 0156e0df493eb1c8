"""How is an override told, to people and to programs?"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from .output import shown
from .statuses import amount_text, money_text, scope_document, scope_text

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from gatekeeper_client.v1.override_pb2 import Override, OverrideUse

IN_FORCE_COLUMNS = ("Override", "For", "Up to", "Cost", "Held", "Left", "Until (UTC)", "Why")
COLUMNS = (*IN_FORCE_COLUMNS[:2], "State", *IN_FORCE_COLUMNS[2:-1], "Who", "Used by", "Why")
NUMBERS = ("Up to", "Cost", "Held", "Left")
OPTIONAL = ("Held", "Cost", "Used by", "Who", "Up to", "Why")


def state_of(override: Override) -> str:
    """Return the name of an override's state."""
    from gatekeeper_client.v1.override_pb2 import OverrideState

    return OverrideState.Name(override.state).removeprefix("OVERRIDE_STATE_")


def target_text(override: Override) -> str:
    """Name the calls that an override is for."""
    if override.reservation_id:
        return f"reservation {shown(override.reservation_id)}"
    return scope_text(override.scope)


def calls_text(override: Override) -> str:
    """Name the calls that an override is for, and what the call that asked for it is for."""
    scopes = ", ".join(scope_text(scope) for scope in override.call_scopes)
    return f"{target_text(override)} ({scopes})" if scopes else target_text(override)


def override_document(override: Override) -> dict[str, Any]:
    """Return an override for programs: amounts are strings."""
    amounts = {name: amount_text(getattr(override, name)) for name in ("max_amount", "spent", "reserved", "remaining")}
    names = ("reason", "requested_by", "granted_by", "approved_by", "ended_by", "use_count")
    return {
        "override_id": override.override_id,
        "organization": override.organization,
        "scope": scope_document(override.scope) if override.HasField("scope") else None,
        "reservation_id": override.reservation_id or None,
        "call_scopes": [scope_document(scope) for scope in override.call_scopes],
        "state": state_of(override),
        "currency": override.max_amount.currency_code,
        **amounts,
        **{name: instant_text(getattr(override, name)) for name in ("create_time", "expire_time", "end_time")},
        **{name: getattr(override, name) for name in names},
        "uses": [_use_document(use) for use in override.uses],
    }


def _use_document(use: OverrideUse) -> dict[str, Any]:
    return {
        "reservation_id": use.reservation_id,
        "amount": amount_text(use.amount),
        "agent": use.agent,
        "run": use.run,
        "create_time": instant_text(use.create_time),
    }


def instant_text(instant: Timestamp) -> str | None:
    """Return an instant for programs; None for one that is not there."""
    return instant.ToDatetime(UTC).isoformat() if instant.seconds or instant.nanos else None


def minute_text(instant: Timestamp) -> str:
    """Return an instant for people, in UTC."""
    return f"{instant.ToDatetime(UTC):%Y-%m-%d %H:%M}" if instant.seconds else ""


def in_force_row(override: Override) -> list[str]:
    """Return the IN_FORCE_COLUMNS of an override."""
    return [
        override.override_id,
        calls_text(override),
        *(amount_text(getattr(override, name)) for name in ("max_amount", "spent", "reserved", "remaining")),
        minute_text(override.expire_time),
        shown(override.reason),
    ]


def override_row(override: Override) -> list[str]:
    """Return the COLUMNS of an override."""
    name, target, *amounts_and_end, reason = in_force_row(override)
    return [name, target, state_of(override), *amounts_and_end, _who(override), _used_by(override), reason]


def _who(override: Override) -> str:
    deeds = {
        "asked": override.requested_by,
        "granted": override.granted_by,
        "approved": override.approved_by,
        "declined" if state_of(override) == "DECLINED" else "ended": override.ended_by,
    }
    return ", ".join(f"{shown(name)} {deed}" for deed, name in deeds.items() if name)


def _used_by(override: Override) -> str:
    if not override.use_count:
        return ""
    names = sorted({shown(use.agent or use.run) for use in override.uses} - {""})
    calls = "1 call" if override.use_count == 1 else f"{override.use_count:,} calls"
    return f"{calls}: {', '.join(names)}" if names else calls


def made_text(override: Override) -> str:
    """Tell in a sentence how an override stands that was made, asked for or decided on."""
    what = f"Override {override.override_id} for {calls_text(override)}"
    state = state_of(override)
    if state == "ACTIVE":
        until = minute_text(override.expire_time)
        return f"{what} is in force: up to {money_text(override.max_amount)} past its caps, until {until} UTC."
    if state == "PENDING":
        whom = "a second admin" if override.granted_by else "an admin"
        how = f"gatekeeper override approve {override.override_id} --organization {override.organization} --reason …"
        return f"{what}, {money_text(override.max_amount)}, waits for {whom}: `{how}`"
    return f"{what} is {state.lower()}.{_cost(override)}"


def _cost(override: Override) -> str:
    if state_of(override) == "DECLINED":
        return ""
    held = f", and {amount_text(override.reserved)} are held under it" if any_of(override) else ""
    return f" It has cost {amount_text(override.spent)} of {money_text(override.max_amount)}{held}."


def any_of(override: Override) -> bool:
    """Tell whether open holds are booked on an override."""
    return bool(override.reserved.units or override.reserved.nanos)
