"""What is written down when somebody releases what another caller holds?"""

from __future__ import annotations

from datetime import datetime

from .audit import AuditAction, AuditEvent
from .commands import Release
from .money import plain
from .reservation import Reservation, ReservationState


def foreign_release(command: Release, held: Reservation, now: datetime) -> AuditEvent:
    """Return the event of a release by a caller that has not made the hold: an admin, or an agent's other token."""
    return AuditEvent(
        action=AuditAction.RESERVATION_RELEASED,
        actor=command.actor,
        subject=f"reservation {held.reservation_id!r}",
        occurred_at=now,
        before={"state": held.state, "amount": plain(held.amount), "caller": held.caller, "owner": held.owner},
        after={"state": ReservationState.RELEASED},
        reason=command.reason,
    )
