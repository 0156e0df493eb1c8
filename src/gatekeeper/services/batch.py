"""How is a batch of calls settled? In one transaction under the organization's lock: read, decide, write, commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

import psycopg

from gatekeeper.domain import errors
from gatekeeper.domain.access import Actor
from gatekeeper.domain.audit import AuditAction, AuditEvent, AuditKey
from gatekeeper.domain.budget import ORGANIZATION, Budget, Scope
from gatekeeper.domain.commands import Command, Reserve
from gatekeeper.domain.grants import GrantLimits
from gatekeeper.domain.ledger import Ledger
from gatekeeper.domain.money import plain
from gatekeeper.domain.open_holds import EVERYBODY, HoldLimits, OpenHolds
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.overrides import Overrides
from gatekeeper.domain.periods import Periods, Window, periods_at
from gatekeeper.domain.verdicts import Committed, Denial, Verdict, headroom_is_due
from gatekeeper.storage import books as storage
from gatekeeper.storage.connections import Connection, wrap_errors
from gatekeeper.storage.override_rows import read_needed

from .override_requests import request_for_denials
from .prices import Prices


@dataclass(slots=True, kw_only=True)
class Call:
    """A command on its way through the gate.

    `expired_at` is the event loop's time after which its caller no longer waits; infinite without a deadline.
    """

    command: Command
    verdict: asyncio.Future[Answer]
    expired_at: float = field(default=float("inf"))

    def is_wanted(self, now: float) -> bool:
        """Tell whether somebody still waits for the verdict."""
        return not self.verdict.done() and now < self.expired_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verdict, and whose books it is about."""

    organization: Organization
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a batch has to know beside the books: settings of this process."""

    owner: str
    monthly_budget: Decimal
    auto_provision: bool
    prices: Prices
    holds: HoldLimits
    grants: GrantLimits
    audit_key: AuditKey


Result = Answer | errors.GatekeeperError


async def settle(
    connection: Connection, organization: str, calls: Sequence[Call], rules: Rules, periods: Periods
) -> tuple[list[Result], Periods]:
    """Settle `calls` in order, in one transaction; return a result for each, and the periods that were current.

    `periods` are the expected ones; a wrong guess costs one more round trip.

    Raises psycopg.Error where nothing was written, and `DatabaseUnavailable` where that is not known.
    """
    commands = [call.command for call in calls]
    books, opened = await _open(connection, organization, commands, periods, rules)
    if books is None:
        await connection.execute("ROLLBACK")
        return [_unknown(organization, command) for command in commands], periods
    current = periods_at(books.now, ZoneInfo(books.organization.time_zone))
    if current != periods:
        await storage.read_budgets(connection, organization, books, _scopes(commands), current)
    overrides = await _overrides(connection, organization, books, commands)
    prices = rules.prices.known(books.organization) or await rules.prices.load(connection, books.organization)
    ledger = Ledger(
        organization=books.organization,
        now=books.now,
        periods=current,
        prices=prices,
        owner=rules.owner,
        budgets=books.budgets.values(),
        balances=books.balances,
        reservations=books.reservations,
        open_holds=OpenHolds(books.open_holds, rules.holds),
        overrides=overrides,
    )
    clock = asyncio.get_running_loop().time()
    results = [_apply(ledger, call, clock) for call in calls]
    ledger.tell()
    await _look_up(connection, organization, ledger, results)
    await request_for_denials(connection, books.organization, ledger.changes.denials, rules.grants, rules.audit_key)
    if opened and not any(map(_is_kept, calls, results)):
        await connection.execute("ROLLBACK")
        return results, current
    with wrap_errors():
        if opened:
            ledger.changes.audit_events.append(_opening(ledger, calls, results, monthly_budget(rules.monthly_budget)))
        await storage.close_books(connection, organization, ledger.changes, rules.audit_key)
    return results, current


async def _open(
    connection: Connection, organization: str, commands: Sequence[Command], periods: Periods, rules: Rules
) -> tuple[storage.Books | None, bool]:
    """Open the books; where there are none, and a call may open them, make them first. Return whether they are new."""
    only_reserves = all(isinstance(command, Reserve) for command in commands)
    read = partial(
        storage.open_books,
        connection,
        organization,
        scopes=_scopes(commands),
        periods=periods,
        reservation_ids=[command.reservation_id for command in commands],
        callers={EVERYBODY} | {command.actor.caller.caller_id for command in commands if isinstance(command, Reserve)},
        of_reservations=not only_reserves,
    )
    books = await read()
    opened = False
    if books is None and rules.auto_provision and any(isinstance(command, Reserve) for command in commands):
        opened = await storage.open_organization(connection, organization, monthly_budget(rules.monthly_budget))
        books = await read(begin=False)
    if books is not None and only_reserves:
        await _read_repeated(connection, organization, books, periods)
    return books, opened


async def _overrides(
    connection: Connection, organization: str, books: storage.Books, commands: Sequence[Command]
) -> Overrides:
    """Read the overrides in force, and those that the reservations here use; mostly there are none to look for."""
    used = {held.override.override_id for held in books.reservations.values() if held.override}
    used |= {command.override_id for command in commands if isinstance(command, Reserve) and command.override_id}
    until = books.organization.overrides_until
    if not used and (until is None or until <= books.now):
        return Overrides((), books.now)
    return Overrides(await read_needed(connection, organization, used), books.now)


def _scopes(commands: Sequence[Command]) -> set[Scope]:
    """Return the scopes of new reservations."""
    return {scope for command in commands if isinstance(command, Reserve) for scope in command.attribution.scopes()}


async def _read_repeated(connection: Connection, organization: str, books: storage.Books, periods: Periods) -> None:
    """Read the budgets of reservations that are asked for again, where they are of another period."""
    for held in books.reservations.values():
        if held.periods != periods:
            await storage.read_budgets(connection, organization, books, [*held.attribution.scopes()], held.periods)


def _is_kept(call: Call, result: Result) -> bool:
    """Tell whether a call may open an organization: not one that fails or only asks."""
    return isinstance(result, Answer) and not (isinstance(call.command, Reserve) and call.command.validate_only)


def _opening(ledger: Ledger, calls: Sequence[Call], results: Sequence[Result], budget: Budget) -> AuditEvent:
    """Return what is written down about an organization that a call has opened."""
    opener = next(call.command for call, result in zip(calls, results, strict=True) if _is_kept(call, result))
    reason = f"first seen in Reserve of {opener.reservation_id!r}"
    return opening_event(ledger.organization, budget, opener.actor, ledger.now, reason)


def opening_event(
    organization: Organization, budget: Budget | None, actor: Actor, now: datetime, reason: str
) -> AuditEvent:
    """Return what is written down about a new organization, and the budget that it begins with (None: none yet)."""
    begins_with = {} if budget is None else {"monthly_budget": plain(budget.cap)}
    return AuditEvent(
        action=AuditAction.ORGANIZATION_OPENED,
        actor=actor,
        subject=f"organization {organization.organization!r}",
        occurred_at=now,
        after={"currency": organization.currency, "time_zone": organization.time_zone, **begins_with},
        reason=reason,
    )


def monthly_budget(cap: Decimal) -> Budget:
    """Return the budget that a new organization gets."""
    return Budget(scope=ORGANIZATION, window=Window.MONTH, cap=cap)


def guess_periods(periods: Periods | None) -> Periods:
    """Return the periods to expect: those seen last, or else those of UTC."""
    return periods or periods_at(datetime.now(UTC), UTC)


def _unknown(organization: str, command: Command) -> errors.NotFound:
    if isinstance(command, Reserve):
        return errors.OrganizationNotFound(organization=organization)
    return errors.ReservationNotFound(reservation_id=command.reservation_id)


def _apply(ledger: Ledger, call: Call, clock: float) -> Result:
    if not call.is_wanted(clock):
        return errors.DeadlineExceeded()
    try:
        return Answer(organization=ledger.organization, verdict=ledger.apply(call.command))
    except errors.GatekeeperError as error:
        return error


async def _look_up(connection: Connection, organization: str, ledger: Ledger, results: list[Result]) -> None:
    """Complete the rare answers that need more than the books: when holds end, and what an earlier commit recorded."""
    ended = [*ledger.changes.changed]
    found: dict[object, datetime | None] = {}
    for index, result in enumerate(results):
        if not isinstance(result, Answer):
            continue
        match result.verdict:
            case Denial() as denial if headroom_is_due(denial) and denial.denied.balance is not None:
                key = denial.denied.balance.key
                if key not in found:
                    found[key] = await storage.earliest_expiry(connection, organization, key, ended)
                # No open hold is left where later calls of this batch have ended all of them: it is back already.
                denial.headroom_at = ledger.earliest_expiry(key, found[key]) or ledger.now
            case Committed(reservation, None, balances):
                execution = ledger.execution_of(reservation.reservation_id) or await storage.find_execution(
                    connection, organization, reservation.reservation_id
                )
                verdict = Committed(reservation, execution, balances)
                results[index] = Answer(organization=result.organization, verdict=verdict)


def is_about_one_call(error: psycopg.Error) -> bool:
    """Tell whether an error may be one call's fault: a statement was refused, the database not lost."""
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError | psycopg.ProgrammingError)
