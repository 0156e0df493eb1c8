"""How are books kept without a database? In memory, one batch after another, as the services keep them in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from gatekeeper.domain import caps, errors, grants
from gatekeeper.domain.access import SYSTEM
from gatekeeper.domain.alerts import Alert
from gatekeeper.domain.budget import Balance, BalanceKey, Budget, Scope
from gatekeeper.domain.caps import SetCap
from gatekeeper.domain.commands import Command, Money
from gatekeeper.domain.grants import GrantLimits, Terms
from gatekeeper.domain.ledger import Ledger
from gatekeeper.domain.open_holds import HoldLimits, OpenHolds
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.override_steps import Target
from gatekeeper.domain.overrides import Override, Overrides
from gatekeeper.domain.periods import Periods, Window, periods_at
from gatekeeper.domain.prices import PriceList
from gatekeeper.domain.reservation import Execution, Reservation
from gatekeeper.domain.second_admins import UNLIMITED
from gatekeeper.domain.verdicts import Excess, Verdict

ONE_ADMIN = GrantLimits(in_force_max=100, requests_max=100)
PRICES = PriceList(books=())


@dataclass(kw_only=True)
class KeptBooks:
    """One organization's books."""

    organization: Organization
    budgets: dict[tuple[Scope, Window], Budget] = field(default_factory=dict)
    balances: dict[BalanceKey, Balance] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    excesses: list[Excess] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    overrides: dict[str, Override] = field(default_factory=dict)
    open_holds: dict[str, int] = field(default_factory=dict)

    def periods(self, now: datetime) -> Periods:
        return periods_at(now, ZoneInfo(self.organization.time_zone))

    def settle(self, now: datetime, commands: Sequence[Command]) -> list[Verdict | errors.GatekeeperError]:
        """Apply commands as one batch; return each one's verdict, or why there is none."""
        ledger = Ledger(
            organization=self.organization,
            now=now,
            periods=self.periods(now),
            prices=PRICES,
            owner="test",
            budgets=self.budgets.values(),
            balances=self.balances,
            reservations=self.reservations,
            open_holds=OpenHolds(self.open_holds, HoldLimits()),
            overrides=Overrides(self.overrides.values(), now),
        )
        verdicts: list[Verdict | errors.GatekeeperError] = []
        for command in commands:
            try:
                verdicts.append(ledger.apply(command))
            except errors.GatekeeperError as error:
                verdicts.append(error)
        ledger.tell()
        self._write(ledger)
        return verdicts

    def _write(self, ledger: Ledger) -> None:
        changes = ledger.changes
        self.balances |= changes.balances
        self.reservations |= changes.made | changes.changed
        self.executions += changes.executions
        self.excesses += changes.excesses
        self.alerts += changes.alerts
        self.overrides |= changes.overrides
        self.open_holds |= changes.open_holds

    def set_cap(self, now: datetime, command: SetCap, counted: tuple[Decimal, Decimal]) -> None:
        """Set a budget; `counted` is what is reserved and spent in its period if it is new."""
        known = self.budgets.get((command.scope, command.window))
        budget = caps.change(self.organization, known, command)
        balance = budget.fresh(self.periods(now).of(command.window))
        if known is None:
            balance = balance._replace(reserved=counted[0], spent=counted[1])
        recapped = caps.recap(self.balances.get(balance.key, balance), budget, "USD", now)
        self.budgets[command.scope, command.window] = budget
        self.balances[balance.key] = recapped.balance
        self.alerts += recapped.alerts
        if recapped.excess:
            self.excesses.append(recapped.excess)

    def grant(self, now: datetime, target: Target, amount: Decimal, ttl: timedelta) -> str:
        """Turn an override on; return its id."""
        override_id = f"o{len(self.overrides)}"
        terms = Terms(target=target, max_amount=Money(amount=amount), reason="why", ttl=ttl)
        step = grants.grant(self.organization, override_id, terms, SYSTEM, now, limits=ONE_ADMIN, admin=UNLIMITED)
        self.overrides[override_id] = step.after
        return override_id

    def end(self, now: datetime, override_id: str) -> None:
        """Turn an override off."""
        if step := grants.end(self.overrides[override_id], "why", SYSTEM, now):
            self.overrides[override_id] = step.after
