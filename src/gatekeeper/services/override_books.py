"""What holds for every change of overrides, and how are its steps written? Under the organization's lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gatekeeper.domain import errors
from gatekeeper.domain.access import Caller
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.grants import GrantLimits
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.override_steps import Step, Target
from gatekeeper.domain.overrides import Override, OverrideState
from gatekeeper.domain.second_admins import UNLIMITED, Standing, hand_of
from gatekeeper.storage import audit, second_admins
from gatekeeper.storage import overrides as storage
from gatekeeper.storage.alerts import write_alerts
from gatekeeper.storage.connections import Connection


@dataclass(slots=True, kw_only=True)
class OverrideBooks:
    """An organization's locked books, and the steps to be written when they close."""

    connection: Connection
    organization: Organization
    now: datetime
    steps: list[Step] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Whose books these are."""
        return self.organization.organization

    async def find(self, override_id: str) -> Override:
        """Return an override. Raises `OverrideNotFound`."""
        found = await storage.find(self.connection, self.name, override_id)
        if found is None:
            raise errors.OverrideNotFound(override_id=override_id)
        return found

    async def demand_unused(self, target: Target) -> None:
        """Raise `ReservationInUse` for a reservation that was admitted: there is nothing left to let through."""
        reservation_id = target.reservation_id
        if target.scope is None and await storage.is_reserved(self.connection, self.name, reservation_id):
            raise errors.ReservationInUse(reservation_id=reservation_id)

    async def demand_room(self, after: Override, limits: GrantLimits) -> None:
        """Raise `TooManyOverrides` beyond what may be in force, or wait. Requests leave room for admins' grants."""
        opened = await storage.count_open(self.connection, self.name, self.now)
        whose = "The organization"
        if after.state is OverrideState.ACTIVE:
            rooms = [(whose, opened.in_force, limits.in_force_max)]
        elif after.granted_by:
            rooms = [(whose, opened.half_granted, limits.in_force_max)]
        else:
            rooms = [(whose, opened.pending, limits.requests_max), *await self._room_of(after, limits)]
        for whom, count, most in rooms:
            if count >= most:
                raise errors.TooManyOverrides(whose=whom, state=after.state.lower(), most=str(most))

    async def _room_of(self, asked: Override, limits: GrantLimits) -> list[tuple[str, int, int]]:
        caller_id = asked.requested_by_id
        if not caller_id:
            return []
        waiting = await storage.waiting_of(self.connection, self.name, [caller_id], self.now)
        return [(f"Caller {asked.requested_by!r}", waiting.get(caller_id, 0), limits.requests_of_one_max)]

    async def standing(self, caller: Caller, limits: GrantLimits, override: Override | None = None) -> Standing:
        """Return how an admin stands where one may not be enough, or another one has granted the override already."""
        if limits.second_admin_above is None and not (override and override.granted_by):
            return UNLIMITED
        hand = hand_of(caller, await second_admins.admin_tokens(self.connection, self.name))
        alone = await second_admins.granted_alone(self.connection, self.name, caller, hand, self.now)
        return Standing(hand=hand, granted_alone=alone)


async def write_steps(connection: Connection, organization: Organization, steps: Sequence[Step], key: AuditKey) -> None:
    """Write steps, what the audit trail keeps of them, and whom they are told, under the organization's lock."""
    if not steps:
        return
    name = organization.organization
    for step in steps:
        if step.before is None:
            await storage.add(connection, name, step.after)
        else:
            await storage.change(connection, name, step.after)
        await audit.write_event(connection, name, step.event(), key)
    if any(each and each.state is OverrideState.ACTIVE for step in steps for each in (step.before, step.after)):
        await storage.set_until(connection, name)
    if alerts := [alert for step in steps if (alert := step.alert(organization.currency))]:
        await write_alerts(connection, name, alerts)
