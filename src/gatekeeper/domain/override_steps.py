"""What is written down, and who is told, when an override comes a step further?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from .access import Actor
from .alerts import Alert, AlertKind
from .audit import AuditAction, AuditEvent, Content
from .budget import Scope, ScopeKind
from .money import plain
from .overrides import Override, OverrideState


class Target(NamedTuple):
    """Which calls an override is for: those of a scope, or (None) the one of a reservation id."""

    scope: Scope | None
    reservation_id: str = ""

    def __str__(self) -> str:
        """Name it for people."""
        if self.scope is None:
            return f"reservation {self.reservation_id!r}"
        if self.scope.kind is ScopeKind.ORGANIZATION:
            return "the organization"
        return f"{self.scope.kind.lower()} {self.scope.id!r}"


def target_of(override: Override) -> Target:
    """Return which calls an override is for."""
    return Target(override.scope, override.reservation_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A change of an override, by whom and why. None: before the first there was nothing."""

    action: AuditAction
    before: Override | None
    after: Override
    actor: Actor
    taken_at: datetime
    reason: str

    def event(self) -> AuditEvent:
        """Return what is written down about it."""
        return AuditEvent(
            action=self.action,
            actor=self.actor,
            subject=f"override {self.after.override_id!r}",
            occurred_at=self.taken_at,
            before=None if self.before is None else _content(self.before),
            after=_content(self.after),
            reason=self.reason,
        )

    def alert(self, currency: str) -> Alert | None:
        """Return what admins are told where one of them has to act now: at most two, of the first and the second."""
        after = self.after
        if after.state is not OverrideState.PENDING:
            return None
        whom, by = ("a second", after.granted_by) if after.granted_by else ("an", after.requested_by)
        amount = f"{plain(after.max_amount)} {currency}"
        whose = f"{target_of(after)} ({calls})" if (calls := _calls(after)) else target_of(after)
        message = f"An override of {amount} for {whose} waits for {whom} admin, after {by!r}: {after.reason}"
        return Alert(
            kind=AlertKind.OVERRIDE_REQUESTED,
            message=message,
            occurred_at=self.taken_at,
            round=1 if after.granted_by else 0,
            subject=after.override_id,
        )


def _calls(override: Override) -> str:
    """Name what the call that asked for it is for."""
    return ", ".join(str(Target(scope)) for scope in override.bound_scopes or ())


def _content(override: Override) -> Content:
    return {
        "target": str(target_of(override)),
        "call_scopes": _calls(override) or None,
        "state": override.state,
        "max_amount": plain(override.max_amount),
        "ttl_s": f"{override.ttl.total_seconds():.0f}",
        "expires_at": override.expires_at.isoformat(timespec="seconds"),
        "reserved": plain(override.reserved),
        "spent": plain(override.spent),
    }
