"""How are overrides turned on, asked for, decided on and ended? Under the organization's lock: at once, everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gatekeeper.domain import errors, grants
from gatekeeper.domain.access import Actor
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.budget import ORGANIZATION, Scope
from gatekeeper.domain.grants import Approval, GrantLimits, Terms
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.override_steps import Target, target_of
from gatekeeper.domain.overrides import Override, OverrideState
from gatekeeper.storage import budgets, override_lists
from gatekeeper.storage import overrides as storage
from gatekeeper.storage.books import database_now
from gatekeeper.storage.connections import Pool, wrap_errors
from gatekeeper.storage.override_lists import Listed
from gatekeeper_client.ids import new_reservation_id as new_override_id

from .changes import Changes
from .override_books import OverrideBooks, write_steps

# Overrides in one answer of GetStatus; ListOverrides pages through more.
IN_FORCE_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Overrides as they are after what was done, the newest first, at what time."""

    organization: Organization
    now: datetime
    overrides: Sequence[Override]


class InForce(NamedTuple):
    """Overrides in force, at what time."""

    now: datetime
    overrides: Sequence[Override]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverridePage:
    """Overrides at some time, and the position behind the last of them (None: there are no more)."""

    organization: Organization
    now: datetime
    entries: Sequence[Listed]
    after: tuple[datetime, str] | None


class Grants:
    """What admins do with overrides, and what callers ask of them. Each method raises `OrganizationNotFound`."""

    def __init__(
        self, *, reads: Pool, writes: Pool, limits: GrantLimits, audit_key: AuditKey, changes: Changes
    ) -> None:
        """Read and write by these pools; seal what the audit trail keeps with `audit_key`; tell of `changes`."""
        self._reads = reads
        self._writes = writes
        self._limits = limits
        self._audit_key = audit_key
        self._changes = changes

    async def turn_on(self, organization: str, terms: Terms, actor: Actor) -> Decided:
        """Make an override that an admin grants unasked; above some amount it waits for a second admin.

        The same again, under an id of the admin's, is answered again, and grants nothing more.

        Raises `OverrideMismatch`, `ReservationInUse`, `TooManyOverrides`, `CurrencyMismatch` or `InvalidField`.
        """
        async with self._changing(organization) as books:
            if terms.override_id and (known := await storage.find(books.connection, organization, terms.override_id)):
                if not terms.made(known):
                    raise errors.OverrideMismatch(override_id=terms.override_id)
                return _decided(books, known)
            await books.demand_unused(terms.target)
            override_id = terms.override_id or new_override_id()
            admin = await books.standing(actor.caller, self._limits)
            step = grants.grant(
                books.organization, override_id, terms, actor, books.now, limits=self._limits, admin=admin
            )
            await books.demand_room(step.after, self._limits)
            books.steps.append(step)
        return _decided(books, step.after)

    async def request(self, organization: str, terms: Terms, actor: Actor) -> Decided:
        """Ask admins for an override; whoever asks for the same again while it waits is shown what waits.

        Raises `ReservationInUse`, `TooManyOverrides`, `CurrencyMismatch` or `InvalidField`.
        """
        async with self._changing(organization) as books:
            await books.demand_unused(terms.target)
            step = grants.ask(books.organization, new_override_id(), terms, actor, books.now)
            for waiting in await storage.open_of(books.connection, organization, terms.target, books.now):
                if _repeats(step.after, waiting):
                    return _decided(books, waiting)
            await books.demand_room(step.after, self._limits)
            books.steps.append(step)
        return _decided(books, step.after)

    async def approve(self, organization: str, override_id: str, approval: Approval, actor: Actor) -> Decided:
        """Let a pending override come into force, or one step nearer to it; one that is in force stays as it is.

        Raises `OverrideNotFound`, `OverrideOver`, `OverrideNeedsAnother`, `ReservationInUse`, `TooManyOverrides`,
        `CurrencyMismatch` or `InvalidField`.
        """
        async with self._changing(organization) as books:
            found = await books.find(override_id)
            admin = await books.standing(actor.caller, self._limits, found)
            step = grants.approve(
                books.organization, found, approval, actor, books.now, limits=self._limits, admin=admin
            )
            if step is None:
                return _decided(books, found)
            await books.demand_unused(target_of(found))
            await books.demand_room(step.after, self._limits)
            books.steps.append(step)
        return _decided(books, step.after)

    async def end(self, organization: str, override_id: str, reason: str, actor: Actor) -> Decided:
        """End an override, or decline it while it is pending; one that is over stays as it is.

        Raises `OverrideNotFound`.
        """
        async with self._changing(organization) as books:
            found = await books.find(override_id)
            if step := grants.end(found, reason, actor, books.now):
                books.steps.append(step)
        return _decided(books, step.after if step else found)

    async def end_all(self, organization: str, target: Target, reason: str, actor: Actor) -> Decided:
        """End or decline all overrides of exactly this target; return those."""
        async with self._changing(organization) as books:
            found = await storage.open_of(books.connection, organization, target, books.now)
            books.steps += [step for each in found if (step := grants.end(each, reason, actor, books.now))]
        return _decided(books, *(step.after for step in books.steps))

    async def in_force(self, organization: str, scopes: Sequence[Scope] = ()) -> InForce:
        """Return at most 100 overrides in force, the newest first; with scopes, of these and the whole organization.

        Raises nothing where there is no such organization: it has none in force.
        """
        asked = [ORGANIZATION, *scopes] if scopes else None
        with wrap_errors():
            async with self._reads.connection() as connection:
                now = await database_now(connection)
                found = await storage.in_force(connection, organization, asked, now=now, limit=IN_FORCE_MAX)
        return InForce(now, found)

    async def page(
        self, organization: str, state: OverrideState | None, after: tuple[datetime, str] | None, size: int
    ) -> OverridePage:
        """Return at most `size` overrides behind `after`, the newest first, with who used them."""
        with wrap_errors():
            async with self._reads.connection() as connection:
                found = await budgets.find_organization(connection, organization)
                if found is None:
                    raise errors.OrganizationNotFound(organization=organization)
                now, books = found
                entries = await override_lists.page(
                    connection, organization, state=state, after=after, now=now, limit=size + 1
                )
        last = entries[size - 1].override if len(entries) > size else None
        position = (last.created_at, last.override_id) if last else None
        return OverridePage(organization=books, now=now, entries=entries[:size], after=position)

    @asynccontextmanager
    async def _changing(self, organization: str) -> AsyncIterator[OverrideBooks]:
        """Lock an organization's books; when all went well, write the steps that were taken, and tell of them."""
        with wrap_errors():
            async with self._writes.connection() as connection, connection.transaction():
                found = await budgets.lock_organization(connection, organization)
                if found is None:
                    raise errors.OrganizationNotFound(organization=organization)
                now, locked = found
                books = OverrideBooks(connection=connection, organization=locked, now=now)
                yield books
                await write_steps(connection, locked, books.steps, self._audit_key)
        if books.steps:
            self._changes.tell(organization)


def _decided(books: OverrideBooks, *overrides: Override) -> Decided:
    return Decided(organization=books.organization, now=books.now, overrides=overrides)


def _repeats(asked: Override, waiting: Override) -> bool:
    """Tell whether the same caller asks for what waits already."""
    told = ("requested_by", "requested_by_id", "terms_digest")
    return waiting.state is OverrideState.PENDING and all(getattr(asked, n) == getattr(waiting, n) for n in told)
