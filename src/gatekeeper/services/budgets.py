"""How do budgets stand, and how are they set?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from gatekeeper.domain import caps, errors
from gatekeeper.domain.access import Actor
from gatekeeper.domain.alerts import Alert
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.budget import ORGANIZATION, Balance, BalanceKey, Budget, Scope, ScopeKind
from gatekeeper.domain.caps import SetCap
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import TOTAL, Periods, Window, periods_at
from gatekeeper.storage import audit
from gatekeeper.storage import budgets as storage
from gatekeeper.storage.connections import Connection, Pool, wrap_errors

from .batch import monthly_budget, opening_event
from .changes import Changes

Announce = Callable[[Organization, Budget, Balance, datetime], Alert]

# Budgets in one answer of GetStatus; ListBudgets pages through more.
STATUS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An organization's budgets in one period each, and whether those that were asked for now block or are frozen."""

    organization: Organization
    can_execute: bool
    frozen: bool
    balances: Sequence[Balance]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A budget with the balance of its current period."""

    organization: Organization
    budget: Budget
    balance: Balance


class Budgets:
    """Reads without locks, and changes under the organization's lock."""

    def __init__(
        self,
        *,
        reads: Pool,
        writes: Pool,
        monthly_budget: Decimal,
        auto_provision: bool,
        audit_key: AuditKey,
        changes: Changes,
    ) -> None:
        """Read and write by these pools; seal what the audit trail keeps with `audit_key`, and tell `changes`."""
        self._reads = reads
        self._writes = writes
        self._monthly_budget = monthly_budget
        self._auto_provision = auto_provision
        self._audit_key = audit_key
        self._changes = changes

    async def status(self, organization: str, scopes: Sequence[Scope], period: str) -> Status:
        """Return how an organization's budgets stand: those of `scopes` and its own, or all.

        Raises `OrganizationNotFound`.
        """
        with wrap_errors():
            async with self._reads.connection() as connection:
                now, found = await _find(connection, organization)
                current = periods_at(now, ZoneInfo(found.time_zone))
                asked = None if not scopes else [ORGANIZATION, *scopes]
                deciding = standings = await storage.list_budgets(
                    connection, organization, periods=_names(current), scopes=asked or [ORGANIZATION], limit=STATUS_MAX
                )
                if period or not scopes:
                    periods = [period] if period else _names(current)
                    standings = await storage.list_budgets(
                        connection, organization, periods=periods, scopes=asked, limit=STATUS_MAX
                    )
        asked_now = [_current(standing, current) for standing in deciding]
        return Status(
            organization=found,
            can_execute=not any(balance.blocks() for balance in asked_now),
            frozen=any(balance.frozen for balance in asked_now),
            balances=[balance for standing in standings if (balance := _in_period(standing, current, period))],
        )

    async def page(
        self, organization: str, kind: ScopeKind | None, after: tuple[Scope, Window] | None, size: int
    ) -> list[Standing]:
        """Return at most `size` budgets behind `after`. Raises `OrganizationNotFound`."""
        with wrap_errors():
            async with self._reads.connection() as connection:
                now, found = await _find(connection, organization)
                current = periods_at(now, ZoneInfo(found.time_zone))
                standings = await storage.list_budgets(
                    connection, organization, periods=_names(current), kind=kind, after=after, limit=size
                )
        return [
            Standing(organization=found, budget=standing.budget, balance=_current(standing, current))
            for standing in standings
        ]

    async def set_cap(
        self, organization: str, command: SetCap, actor: Actor, *, announce: Announce | None = None
    ) -> Standing:
        """Set a budget, and put its current period under it; write down who did.

        What `announce` returns is told instead of the thresholds that the budget then stands above.

        Raises `OrganizationNotFound`, `EtagMismatch`, `CurrencyMismatch` or `InvalidField`.
        """
        with wrap_errors():
            async with self._writes.connection() as connection, connection.transaction():
                now, found = await self._lock(connection, organization, command, actor)
                period = periods_at(now, ZoneInfo(found.time_zone)).of(command.window)
                standings = await storage.list_budgets(
                    connection, organization, periods=[period], scopes=[command.scope], limit=len(Window)
                )
                before = next((s for s in standings if s.budget.window is command.window), None)
                budget = caps.change(found, before.budget if before else None, command)
                key = BalanceKey(command.scope, command.window, period)
                balance = before.balance if before else None
                if balance is None:
                    balance = await storage.count_from_books(connection, organization, key, budget)
                recapped = caps.recap(balance, budget, found.currency, now)
                if announce is not None:
                    recapped = replace(recapped, alerts=[announce(found, budget, recapped.balance, now)])
                updated_at = await storage.write_budget(connection, organization, budget)
                await storage.write_recapped(connection, organization, recapped)
                event = caps.change_event(before.budget if before else None, budget, actor, now)
                await audit.write_event(connection, organization, event, self._audit_key)
        self._changes.tell(organization)
        return Standing(organization=found, budget=replace(budget, updated_at=updated_at), balance=recapped.balance)

    async def _lock(
        self, connection: Connection, organization: str, command: SetCap, actor: Actor
    ) -> tuple[datetime, Organization]:
        """Lock the books; open an organization by capping it, or where any call may open one."""
        found = await storage.lock_organization(connection, organization)
        if found is not None:
            return found
        is_own = command.scope.kind is ScopeKind.ORGANIZATION
        if not (is_own or self._auto_provision):
            raise errors.OrganizationNotFound(organization=organization)
        is_new = await storage.add_organization(connection, organization)
        found = await storage.lock_organization(connection, organization)
        assert found is not None
        if not is_new:
            # Somebody else has opened it meanwhile, on their terms.
            return found
        budget = None if is_own and command.window is Window.MONTH else monthly_budget(self._monthly_budget)
        if budget is not None:
            await storage.write_budget(connection, organization, budget)
        event = opening_event(found[1], budget, actor, found[0], "first seen in SetCap")
        await audit.write_event(connection, organization, event, self._audit_key)
        return found


async def _find(connection: Connection, organization: str) -> tuple[datetime, Organization]:
    found = await storage.find_organization(connection, organization)
    if found is None:
        raise errors.OrganizationNotFound(organization=organization)
    return found


def _names(periods: Periods) -> list[str]:
    return [periods.day, periods.month, TOTAL]


def _in_period(standing: storage.Standing, current: Periods, period: str) -> Balance | None:
    """Return the balance in the asked period; a past one without a balance was not capped then."""
    if standing.balance is not None:
        return standing.balance
    if period and period != current.of(standing.budget.window):
        return None
    return _current(standing, current)


def _current(standing: storage.Standing, current: Periods) -> Balance:
    """Return the balance of the current period; without one, no call has touched it."""
    budget = standing.budget
    return standing.balance or budget.fresh(current.of(budget.window))
