"""What does `ALLOW_BUDGET_OVERRIDE` turn on? An override of every organization for the day that the server started on.

It is bounded in amount and time like any other, and is named after the day: however many processes start on one day,
and however often, an organization gets one of them, none while another day's is in force, and none for as long as one
lasts after an admin has ended one. It ends with the server's first day or two, not with the server: whoever wants
another one has to start anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog

from gatekeeper.domain.access import SYSTEM
from gatekeeper.domain.audit import AuditAction, AuditKey
from gatekeeper.domain.budget import ORGANIZATION
from gatekeeper.domain.grants import AT_START
from gatekeeper.domain.money import plain
from gatekeeper.domain.override_steps import Step
from gatekeeper.domain.overrides import Override, OverrideState
from gatekeeper.storage import budgets
from gatekeeper.storage import start_overrides as storage
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import Pool, wrap_errors
from gatekeeper.storage.start_overrides import Start

from .changes import Changes
from .override_books import write_steps
from .repetition import repeat

# Organizations of one pass: what a start may wait for, some seconds at most.
ORGANIZATIONS_MAX = 1000
# How often it is looked for organizations that were opened since.
INTERVAL_S = 20
# What is in force, or was ended no longer ago than one lasts, is no older: twice the longest time to live, and a day.
LOOK_BACK = timedelta(days=63)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTerms:
    """What the settings allow from the start of a process, named `instance`, on."""

    max_amount: Decimal
    ttl: timedelta
    instance: str


class StartOverride:
    """The override at the start of this process, in the books of every organization."""

    def __init__(self, pool: Pool, terms: StartTerms, key: AuditKey, changes: Changes) -> None:
        """Write by this pool; seal what the audit trail keeps with `key`; tell of `changes`."""
        self._pool = pool
        self._terms = terms
        self._key = key
        self._changes = changes
        self._started_at: datetime | None = None

    async def ensure(self) -> int:
        """Turn it on for organizations that have none of this day, as long as it lasts; return for how many.

        At most 1,000 of them at once: ask again. Those that are opened later get what is left of its time.
        Raises `DatabaseUnavailable`.
        """
        with wrap_errors():
            async with self._pool.connection() as connection:
                now = await database_now(connection)
                started_at = self._begin(now)
                if now >= started_at + self._terms.ttl:
                    return 0
                names = await storage.without(connection, self._start(now, started_at), limit=ORGANIZATIONS_MAX)
        for name in names:
            await self._turn_on(name, started_at)
        return len(names)

    async def ensure_forever(self) -> None:
        """Do so at every interval, and at once again while there are more."""
        await repeat(
            "override.at_start_failed", self.ensure, lambda made: INTERVAL_S if made < ORGANIZATIONS_MAX else 0
        )

    def _begin(self, now: datetime) -> datetime:
        """Return when it began, the first time with a word to whoever reads the log."""
        if self._started_at is None:
            self._started_at = now
            log.warning(
                "override.at_start",
                override_id=_id(now),
                max_amount=plain(self._terms.max_amount),
                ttl_s=round(self._terms.ttl.total_seconds()),
                setting="ALLOW_BUDGET_OVERRIDE",
                means="calls of every organization are let past their caps, up to this amount of each",
            )
        return self._started_at

    async def _turn_on(self, name: str, started_at: datetime) -> None:
        with wrap_errors():
            async with self._pool.connection() as connection, connection.transaction():
                found = await budgets.lock_organization(connection, name)
                if found is None:
                    return
                if not await storage.without(connection, self._start(found[0], started_at), organization=name):
                    return
                step = self._step(found[0], started_at)
                await write_steps(connection, found[1], [step], self._key)
        self._changes.tell(name)

    def _start(self, now: datetime, started_at: datetime) -> Start:
        return Start(
            override_id=_id(started_at),
            prefix=AT_START,
            oldest_id=_id(now - LOOK_BACK),
            newest_id=_id(now),
            now=now,
            since=now - self._terms.ttl,
        )

    def _step(self, now: datetime, started_at: datetime) -> Step:
        terms = self._terms
        override = Override(
            override_id=_id(started_at),
            scope=ORGANIZATION,
            reservation_id="",
            max_amount=terms.max_amount,
            ttl=terms.ttl,
            state=OverrideState.ACTIVE,
            created_at=now,
            expires_at=started_at + terms.ttl,
            reason=f"ALLOW_BUDGET_OVERRIDE is set where {terms.instance} was started",
            granted_by=SYSTEM.caller.name,
        )
        return Step(
            action=AuditAction.OVERRIDE_GRANTED,
            before=None,
            after=override,
            actor=SYSTEM,
            taken_at=now,
            reason=override.reason,
        )


def _id(started_at: datetime) -> str:
    return f"{AT_START}{started_at.astimezone(UTC).date().isoformat()}"
