"""When does somebody release what another caller holds, and what is written down about it?"""

from __future__ import annotations

from datetime import datetime

from .access import ADMINS
from .audit import AuditAction, AuditEvent
from .commands import Release
from .money import plain
from .reservation import Reservation, ReservationState


def is_manual(command: Release, held: Reservation) -> bool:
    """Tell whether an admin gives back the hold of another caller."""
    caller = command.actor.caller
    return caller.role in ADMINS and caller.caller_id != held.caller


def manual_release(command: Release, held: Reservation, now: datetime) -> AuditEvent:
    """Return what is written down about it."""
    return AuditEvent(
        action=AuditAction.RESERVATION_RELEASED,
        actor=command.actor,
        subject=f"reservation {held.reservation_id!r}",
        occurred_at=now,
        before={"state": held.state, "amount": plain(held.amount), "caller": held.caller, "owner": held.owner},
        after={"state": ReservationState.RELEASED},
    )
