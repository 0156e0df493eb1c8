"""How is a budget's standing told, to people and to programs?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gatekeeper.domain.money import plain

if TYPE_CHECKING:
    from google.type.money_pb2 import Money

    from gatekeeper_client.v1.budget_pb2 import Budget, BudgetStatus, Scope

ScopeKindName: TypeAlias = Literal["DEPARTMENT", "CAMPAIGN", "AGENT", "RUN"]
Scopes: TypeAlias = Sequence[tuple[ScopeKindName, str]]

NO_FLOOR = 100


def scopes_of(
    *, department: Iterable[str], campaign: Iterable[str], agent: Iterable[str], run: Iterable[str]
) -> Scopes:
    """Return the scopes that options name."""
    given: dict[ScopeKindName, Iterable[str]] = {
        "DEPARTMENT": department,
        "CAMPAIGN": campaign,
        "AGENT": agent,
        "RUN": run,
    }
    return [(kind, scope_id) for kind, ids in given.items() for scope_id in ids]


def kind_of(scope: Scope) -> str:
    """Return the name of a scope's kind."""
    from gatekeeper_client.v1.budget_pb2 import ScopeKind

    return ScopeKind.Name(scope.kind).removeprefix("SCOPE_KIND_")


def tier_of(status: BudgetStatus) -> str:
    """Return the name of a tier."""
    from gatekeeper_client.v1.budget_pb2 import BudgetTier

    return BudgetTier.Name(status.tier).removeprefix("BUDGET_TIER_")


def enforcement_of(value: int) -> str:
    """Return the name of an enforcement."""
    from gatekeeper_client.v1.budget_pb2 import Enforcement

    return Enforcement.Name(value).removeprefix("ENFORCEMENT_")  # type: ignore[arg-type]


def window_of(value: int) -> str:
    """Return the name of a window."""
    from gatekeeper_client.v1.budget_pb2 import BudgetWindow

    return BudgetWindow.Name(value).removeprefix("BUDGET_WINDOW_")  # type: ignore[arg-type]


def floors_of(budget: Budget | BudgetStatus) -> dict[str, int]:
    """Return where calls of lesser priorities stop, in percent of the cap, by the priority's name."""
    from gatekeeper_client.v1.budget_pb2 import Priority

    floors = {Priority.Name(floor.priority).removeprefix("PRIORITY_"): floor.percent for floor in budget.floors}
    return {name: percent for name, percent in floors.items() if percent < NO_FLOOR}


def floors_text(floors: Mapping[str, int]) -> str:
    """Tell where calls of lesser priorities stop."""
    return ", ".join(f"{name} stops at {percent} %" for name, percent in floors.items())


def scope_text(scope: Scope) -> str:
    """Name a scope for people."""
    return f"{kind_of(scope).lower()} {scope.id}".rstrip()


def amount_text(money: Money) -> str:
    """Write an amount without its currency."""
    from gatekeeper_client import from_money

    return plain(from_money(money))


def money_text(money: Money) -> str:
    """Write an amount with its currency."""
    return f"{amount_text(money)} {money.currency_code}"


def scope_document(scope: Scope) -> dict[str, str]:
    """Return a scope for programs."""
    return {"kind": kind_of(scope), "id": scope.id}


def status_document(status: BudgetStatus) -> dict[str, Any]:
    """Return a budget's standing for programs: amounts are strings."""
    names = ("cap", "spent", "reserved", "available", "overridden")
    amounts = {name: amount_text(getattr(status, name)) for name in names}
    return {
        "scope": scope_document(status.scope),
        "window": window_of(status.window),
        "period": status.period,
        "currency": status.cap.currency_code,
        **amounts,
        "utilization_percent": round(status.utilization_percent, 6),
        "tier": tier_of(status),
        "enforcement": enforcement_of(status.enforcement),
        "frozen": status.frozen,
        "would_deny_count": status.would_deny_count,
        "floors": floors_of(status),
    }


def budget_text(status: BudgetStatus) -> str:
    """Name a budget and its period for people."""
    return f"{scope_text(status.scope)}, {window_of(status.window).lower()} {status.period}"


def tightest(budgets: Iterable[BudgetStatus]) -> BudgetStatus | None:
    """Return the enforced budget that leaves least; None where none is enforced."""
    from gatekeeper_client import from_money

    enforced = (status for status in budgets if enforcement_of(status.enforcement) == "ENFORCE")
    return min(enforced, key=lambda status: from_money(status.available), default=None)


def is_blocked(status: BudgetStatus) -> bool:
    """Tell whether a budget admits no call at all."""
    used_up = enforcement_of(status.enforcement) == "ENFORCE" and tier_of(status) == "EXCEEDED"
    return status.frozen or used_up


def room_text(budgets: Iterable[BudgetStatus]) -> str:
    """Tell how much the tightest of some budgets leaves."""
    least = tightest(budgets)
    if least is None:
        return "no enforced budget limits it."
    return f"{money_text(least.available)} left in {budget_text(least)}."
