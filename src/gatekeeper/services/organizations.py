"""How is an organization opened, and on which terms?"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from gatekeeper.domain import caps, errors
from gatekeeper.domain.access import Actor
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditKey, Content
from gatekeeper.domain.budget import ORGANIZATION, BalanceKey, Budget
from gatekeeper.domain.caps import SetCap
from gatekeeper.domain.commands import Money
from gatekeeper.domain.names import check_name
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.periods import Periods, Window, periods_at
from gatekeeper.domain.reservation import ExpiryPolicy
from gatekeeper.storage import audit, books, budgets, invoices, organizations
from gatekeeper.storage.connections import Connection, Pool, wrap_errors

from .batch import monthly_budget, opening_event
from .budgets import Budgets
from .changes import Changes

CURRENCY = re.compile("[A-Z]{3}")
REASON = "gatekeeper init"

# Budgets that are brought into an earlier period at a time.
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is to be in force. None: what is, or what a new organization gets."""

    monthly_budget: Decimal | None = None
    currency: str | None = None
    time_zone: str | None = None
    expiry_policy: ExpiryPolicy | None = None
    known_scopes: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is in force; `is_new` when there was nothing before."""

    organization: Organization
    budget: Budget
    is_new: bool


async def open_or_change(
    pool: Pool, name: str, terms: Terms, *, default_budget: Decimal, actor: Actor, key: AuditKey
) -> Opened:
    """Open an organization on these terms, or change those of one that is open; the same again changes nothing.

    A new one gets a monthly budget of `default_budget` unless the terms say otherwise. Changes are written down.

    Raises `InvalidField`, or `CurrencyMismatch` once money is kept in another currency.
    """
    _check(name, terms)
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            found = await budgets.lock_organization(connection, name)
            is_new = False
            if found is None:
                cap = default_budget if terms.monthly_budget is None else terms.monthly_budget
                is_new = await books.open_organization(connection, name, monthly_budget(cap))
                found = await budgets.lock_organization(connection, name)
                assert found is not None
            now, before = found
            after = _changed(before, terms)
            if after != before:
                await _change(connection, before, after, now)
            budget = await _own_budget(connection, name)
            if is_new or after != before:
                event = _event(None if is_new else before, after, budget, actor, now)
                await audit.write_event(connection, name, event, key)
    if terms.monthly_budget is not None and (budget is None or budget.cap != terms.monthly_budget):
        budget = await _set_budget(pool, name, terms.monthly_budget, actor, key)
    assert budget is not None
    return Opened(organization=after, budget=budget, is_new=is_new)


def _event(
    before: Organization | None, after: Organization, budget: Budget | None, actor: Actor, now: datetime
) -> AuditEvent:
    """Return what is written down about new terms, or a new organization with its budget."""
    opening = opening_event(after, budget, actor, now, REASON)
    if before is None:
        return replace(opening, after={**(opening.after or {}), **_content(after)})
    return replace(opening, action=AuditAction.POLICY_CHANGED, before=_content(before), after=_content(after))


def _content(organization: Organization) -> Content:
    return {
        "currency": organization.currency,
        "time_zone": organization.time_zone,
        "expiry_policy": organization.expiry_policy,
        "known_scopes": str(organization.known_scopes).lower(),
    }


async def _set_budget(pool: Pool, name: str, cap: Decimal, actor: Actor, key: AuditKey) -> Budget:
    command = SetCap(scope=ORGANIZATION, window=Window.MONTH, cap=Money(amount=cap), reason=REASON)
    budgets_of_all = Budgets(
        reads=pool, writes=pool, monthly_budget=cap, auto_provision=True, audit_key=key, changes=Changes()
    )
    return (await budgets_of_all.set_cap(name, command, actor)).budget


async def _own_budget(connection: Connection, name: str) -> Budget | None:
    standings = await budgets.list_budgets(connection, name, periods=[], scopes=[ORGANIZATION], limit=len(Window))
    return next((standing.budget for standing in standings if standing.budget.window is Window.MONTH), None)


def _check(name: str, terms: Terms) -> None:
    """Refuse what no request could name, and what is no currency or time zone."""
    check_name("organization", name)
    if terms.currency is not None and not CURRENCY.fullmatch(terms.currency):
        raise errors.InvalidField(field="currency", problem="must be three capital letters like EUR")
    if terms.time_zone is not None and terms.time_zone not in zoneinfo.available_timezones():
        close = difflib.get_close_matches(terms.time_zone, zoneinfo.available_timezones(), n=1)
        example = close[0] if close else "Europe/Berlin"
        raise errors.InvalidField(field="time_zone", problem=f"{terms.time_zone!r} is not one; write it like {example}")


def _changed(before: Organization, terms: Terms) -> Organization:
    return replace(
        before,
        currency=terms.currency or before.currency,
        time_zone=terms.time_zone or before.time_zone,
        expiry_policy=terms.expiry_policy or before.expiry_policy,
        known_scopes=before.known_scopes if terms.known_scopes is None else terms.known_scopes,
    )


async def _change(connection: Connection, before: Organization, after: Organization, now: datetime) -> None:
    """Write changed terms, unless the money that is in the books already forbids it."""
    last_day = await organizations.last_day(connection, before.organization)
    if after.currency != before.currency and (last_day or before.price_version):
        raise errors.CurrencyMismatch(organization=before.organization, currency=before.currency, given=after.currency)
    await organizations.write_terms(connection, after)
    current = periods_at(now, ZoneInfo(after.time_zone))
    if after.time_zone != before.time_zone and current.day < periods_at(now, ZoneInfo(before.time_zone)).day:
        if current.day < last_day:
            problem = f"would turn the calendar back behind calls of {last_day}; try again when it is that day there"
            raise errors.InvalidField(field="time_zone", problem=problem)
        if invoiced := await invoices.last_standing(connection, before.organization, current.month):
            problem = f"would turn the calendar back into {invoiced}, which has an invoice; credit it, or wait"
            raise errors.InvalidField(field="time_zone", problem=problem)
        await _turn_back(connection, after, current, now)


async def _turn_back(connection: Connection, organization: Organization, current: Periods, now: datetime) -> None:
    """Let an earlier day be the current one, with every budget that has been set since.

    No call has been made later: a budget that is set today could not know of those of a day that is still to come.
    """
    name = organization.organization
    await organizations.forget_later(connection, name, current)
    periods = [current.day, current.month]
    standings = await budgets.list_budgets(connection, name, periods=periods, limit=PAGE)
    while standings:
        for standing in standings:
            await _bring_into(connection, standing, current, organization=organization, now=now)
        last = standings[-1].budget
        standings = await budgets.list_budgets(
            connection, name, periods=periods, limit=PAGE, after=(last.scope, last.window)
        )


async def _bring_into(
    connection: Connection, standing: budgets.Standing, current: Periods, *, organization: Organization, now: datetime
) -> None:
    """Give a budget a balance in the current day or month, under the cap that is in force."""
    budget, balance = standing.budget, standing.balance
    if budget.window is Window.TOTAL:
        return
    if balance is None:
        key = BalanceKey(budget.scope, budget.window, current.of(budget.window))
        balance = await budgets.count_from_books(connection, organization.organization, key, budget)
    recapped = caps.recap(balance, budget, organization.currency, now)
    await budgets.write_recapped(connection, organization.organization, recapped)
