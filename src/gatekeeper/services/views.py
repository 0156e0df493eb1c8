"""How does an organization stand as a whole, and what of that has changed since somebody was last shown it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gatekeeper.domain.budget import Balance, Scope
from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.overrides import Override
from gatekeeper.domain.periods import TOTAL, Window, periods_at
from gatekeeper.storage import budgets as storage
from gatekeeper.storage import overrides
from gatekeeper.storage.connections import Pool, wrap_errors

from .budgets import STATUS_MAX
from .overrides import IN_FORCE_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An organization's budgets in their current periods, its own first, and all overrides in force.

    It shows all budgets, or only those that somebody has not seen as they are.
    """

    organization: Organization
    is_whole: bool
    balances: Sequence[Balance]
    overrides: tuple[Override, ...]
    read_at: datetime


class Seen(NamedTuple):
    """A balance, and the version in which it came to be what it is."""

    balance: Balance
    version: int


class Versions:
    """The newest view of an organization, and in which version each of its balances last changed."""

    def __init__(self) -> None:
        """Begin with version 0, which shows nothing."""
        self.version = 0
        self._view: View | None = None
        self._seen: dict[tuple[Scope, Window], Seen] = {}
        # Whoever has seen an older version is shown everything.
        self._whole_since = 1

    def take(self, view: View) -> bool:
        """Take a newer view; return whether it differs, so that there is a new version."""
        version = self.version + 1
        before, known = self._view, self._seen
        self._view, self._seen = view, {}
        has_changed = before is None or before.overrides != view.overrides
        for balance in view.balances:
            budget = (balance.key.scope, balance.key.window)
            seen = known.pop(budget, None)
            if seen is None or seen.balance != balance:
                has_changed, seen = True, Seen(balance, version)
            self._seen[budget] = seen
        if known:
            # Nothing says that a budget is gone but a snapshot without it.
            has_changed, self._whole_since = True, version
        if has_changed:
            self.version = version
        return has_changed

    def since(self, version: int) -> View:
        """Return what is new to those who have seen a version."""
        assert self._view is not None
        is_whole = version < self._whole_since
        balances = [seen.balance for seen in self._seen.values() if is_whole or seen.version > version]
        return replace(self._view, balances=balances, is_whole=is_whole)


async def read_view(reads: Pool, organization: str) -> View:
    """Read how an organization stands now, without a lock. Raises `OrganizationNotFound` or `DatabaseUnavailable`."""
    with wrap_errors():
        async with reads.connection() as connection:
            found = await storage.find_organization(connection, organization)
            if found is None:
                raise OrganizationNotFound(organization=organization)
            now, owner = found
            current = periods_at(now, ZoneInfo(owner.time_zone))
            standings = await storage.list_budgets(
                connection, organization, periods=[current.day, current.month, TOTAL], limit=STATUS_MAX
            )
            in_force: list[Override] = []
            if owner.overrides_until is not None and now < owner.overrides_until:
                in_force = await overrides.in_force(connection, organization, None, now=now, limit=IN_FORCE_MAX)
    return View(
        organization=owner,
        is_whole=True,
        balances=[s.balance or s.budget.fresh(current.of(s.budget.window)) for s in standings],
        overrides=tuple(in_force),
        read_at=now,
    )
