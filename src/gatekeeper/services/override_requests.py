"""How does a denied call ask for an override by itself? In the transaction of its batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gatekeeper.domain import grants
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.budget import ORGANIZATION
from gatekeeper.domain.commands import Money
from gatekeeper.domain.grants import GrantLimits, Terms
from gatekeeper.domain.money import NANO
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.override_steps import Step, Target
from gatekeeper.domain.overrides import OverrideState
from gatekeeper.domain.verdicts import Denial
from gatekeeper.storage import overrides as storage
from gatekeeper.storage.connections import Connection
from gatekeeper_client.ids import new_reservation_id as new_override_id

from .override_books import write_steps

# How long an admin's no stands for a call that asks by itself: it may come back every second.
DECLINED_FOR = timedelta(hours=24)
NO_ROOM = " Too many overrides wait for approval already, so none was asked for."
DECLINED = " An admin has declined an override for it."


@dataclass(slots=True, kw_only=True)
class Room:
    """How many requests may still be made: in all, and by each caller that is known."""

    left: int
    left_of: dict[str, int]

    def take(self, caller_id: str) -> bool:
        """Make room for one more of a caller's; return whether there was any."""
        if self.left <= 0 or self.left_of.get(caller_id, 1) <= 0:
            return False
        self.left -= 1
        if caller_id in self.left_of:
            self.left_of[caller_id] -= 1
        return True


async def _room(
    connection: Connection, organization: str, caller_ids: Collection[str], limits: GrantLimits, now: datetime
) -> Room:
    pending = (await storage.count_open(connection, organization, now)).pending
    known_ids = {*caller_ids} - {""}
    waiting = await storage.waiting_of(connection, organization, known_ids, now) if known_ids else {}
    most = limits.requests_of_one_max
    return Room(
        left=limits.requests_max - pending,
        left_of={caller_id: most - waiting.get(caller_id, 0) for caller_id in known_ids},
    )


async def request_for_denials(
    connection: Connection, organization: Organization, denials: Sequence[Denial], limits: GrantLimits, key: AuditKey
) -> None:
    """Ask for an override of each denied call that wants one, in the transaction of its batch, once for each call.

    What was asked for is `requested_override` then. Where too many wait it stays None, and the message says so.
    """
    asking = [denial for denial in denials if denial.override_request.strip() and denial.denied.is_for_money]
    if not asking:
        return
    name, now = organization.organization, asking[0].denied_at
    reservation_ids = {denial.reservation_id for denial in asking}
    known = await storage.asked_for(connection, name, reservation_ids, now=now, since=now - DECLINED_FOR)
    room = await _room(connection, name, {denial.actor.caller.caller_id for denial in asking}, limits, now)
    steps: list[Step] = []
    for denial in asking:
        caller_id = denial.actor.caller.caller_id
        call = denial.reservation_id, caller_id
        if call not in known and room.take(caller_id):
            steps.append(grants.ask(organization, new_override_id(), _terms(denial), denial.actor, now))
            known[call] = steps[-1].after
        denial.requested_override = asked = known.get(call)
        if asked is None:
            denial.message += NO_ROOM
        elif asked.state is OverrideState.DECLINED:
            denial.message += DECLINED
    await write_steps(connection, organization, steps, key)


def _terms(denial: Denial) -> Terms:
    # A call for nothing may be denied as well, where more than the cap is spent; an override is always of something.
    amount = Money(amount=max(denial.requested, NANO))
    scopes = tuple(scope for scope in denial.attribution.scopes() if scope != ORGANIZATION)
    target = Target(None, denial.reservation_id)
    return Terms(target=target, max_amount=amount, reason=denial.override_request, call_scopes=scopes)
