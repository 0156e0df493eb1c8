"""How do rows become the domain's objects, and those rows again?

Rows are written as one JSON document for each table, which PostgreSQL takes apart: cheaper here than an array for
each column. Amounts travel as strings, bytes in hex.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from gatekeeper.domain.alerts import Alert
from gatekeeper.domain.budget import (
    Alerted,
    Balance,
    BalanceKey,
    Budget,
    Enforcement,
    Floors,
    Priority,
    Scope,
    ScopeKind,
)
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.override_use import OverrideUse
from gatekeeper.domain.periods import Periods, Window
from gatekeeper.domain.reservation import (
    NO_METRICS,
    Attribution,
    Execution,
    ExecutionKind,
    ExpiryPolicy,
    Metrics,
    Outcome,
    Reservation,
    ReservationState,
)
from gatekeeper.domain.verdicts import Denial, Excess

ATTRIBUTION_TYPES = dict.fromkeys(("department", "campaign", "agent", "run", "agent_type", "task"), "text")
KEY_TYPES = {"scope_kind": "text", "scope_id": "text", "budget_window": "text", "period": "text"}

_RESERVATION = {
    "reservation_id": "text",
    **ATTRIBUTION_TYPES,
    "model": "text",
    "amount": "numeric",
    "state": "text",
    "day": "text",
    "month": "text",
    "created_at": "timestamptz",
    "expires_at": "timestamptz",
    "owner": "text",
    "caller": "text",
    "request_digest": "text",
    "price_version": "text",
    "would_deny": "boolean",
    "labels": "jsonb",
    "ended_at": "timestamptz",
    "ended_by": "text",
    "charged": "numeric",
    "committed": "numeric",
    "commit_digest": "text",
    "late": "boolean",
    "priority": "text",
    "override_id": "text",
    "override_amount": "numeric",
    "override_parts": "jsonb",
}
_EXECUTION = {
    "reservation_id": "text",
    "kind": "text",
    **ATTRIBUTION_TYPES,
    "model": "text",
    "day": "text",
    "month": "text",
    "committed_at": "timestamptz",
    "cost": "numeric",
    "reserved_amount": "numeric",
    "outcome": "text",
    "price_version": "text",
    "input_tokens": "bigint",
    "cached_input_tokens": "bigint",
    "cache_write_input_tokens": "bigint",
    "output_tokens": "bigint",
    "quality_score": "double precision",
    "impact_score": "double precision",
    "conversions": "bigint",
    "revenue": "numeric",
    "latency": "interval",
    "labels": "jsonb",
    "late": "boolean",
    "override_id": "text",
    "override_amount": "numeric",
}
_BALANCE = {
    **KEY_TYPES,
    "cap": "numeric",
    "enforcement": "text",
    "reserved": "numeric",
    "spent": "numeric",
    "excess": "numeric",
    "would_deny_count": "bigint",
    "overridden": "numeric",
    "alerted_spent": "integer",
    "alerted_used": "integer",
    "alert_round": "integer",
}
_ALERT = {
    "kind": "text",
    **KEY_TYPES,
    "basis": "text",
    "threshold": "integer",
    "round": "integer",
    "subject": "text",
    "message": "text",
    "cap": "numeric",
    "spent": "numeric",
    "reserved": "numeric",
    "occurred_at": "timestamptz",
}
_EXCESS = {**KEY_TYPES, "kind": "text", "amount": "numeric", "reservation_id": "text"}
DENIAL = {
    "reservation_id": "text",
    **ATTRIBUTION_TYPES,
    "model": "text",
    "reason": "text",
    **KEY_TYPES,
    "requested": "numeric",
    "shortfall": "numeric",
    "headroom_at": "timestamptz",
    "denied_at": "timestamptz",
    "caller": "text",
    "actor": "text",
    "actor_role": "text",
    "peer": "text",
    "seal": "text",
}


def _types(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())


RESERVATION_COLUMNS = ", ".join(_RESERVATION)
RESERVATION_TYPES = _types(_RESERVATION)
RESERVATION_VALUES = RESERVATION_COLUMNS.replace("request_digest", "decode(request_digest, 'hex')").replace(
    "commit_digest", "decode(commit_digest, 'hex')"
)
# Where the caller is among them.
CALLER = [*_RESERVATION].index("caller")
EXECUTION_COLUMNS = ", ".join(_EXECUTION)
EXECUTION_TYPES = _types(_EXECUTION)
BALANCE_COLUMNS = ", ".join(_BALANCE)
BALANCE_TYPES = _types(_BALANCE)
EXCESS_COLUMNS = ", ".join(_EXCESS)
EXCESS_TYPES = _types(_EXCESS)
ALERT_COLUMNS = ", ".join(_ALERT)
ALERT_TYPES = _types(_ALERT)
DENIAL_COLUMNS = ", ".join(DENIAL)
DENIAL_TYPES = _types(DENIAL)
DENIAL_VALUES = DENIAL_COLUMNS.replace("seal", "decode(seal, 'hex')")

NO_USE = {"override_id": "", "override_amount": "0", "override_parts": ()}

SCOPE_COLUMNS = {
    ScopeKind.DEPARTMENT: "department",
    ScopeKind.CAMPAIGN: "campaign",
    ScopeKind.AGENT: "agent",
    ScopeKind.RUN: "run",
}
PERIOD_COLUMNS = {Window.DAY: "day", Window.MONTH: "month"}


def as_json(records: Sequence[dict[str, Any]] | Sequence[str]) -> str:
    """Write rows as the document that json_to_recordset takes apart, or texts for json_array_elements_text."""
    return json.dumps(records)


def organization(row: Sequence[Any]) -> Organization:
    """Read a row of `organizations`."""
    name, currency, time_zone, expiry_policy, known_scopes, price_version, overrides_until = row
    return Organization(
        organization=name,
        currency=currency,
        time_zone=time_zone,
        expiry_policy=ExpiryPolicy(expiry_policy),
        known_scopes=known_scopes,
        price_version=price_version,
        overrides_until=overrides_until,
    )


def reservation(row: Sequence[Any]) -> Reservation:
    """Read the RESERVATION_COLUMNS of a row."""
    (reservation_id, department, campaign, agent, run, agent_type, task, model, amount, state, day, month,
     created_at, expires_at, owner, caller, request_digest, price_version, would_deny, labels, ended_at, ended_by,
     charged, committed, commit_digest, late, priority, override_id, override_amount, parts) = row  # fmt: skip
    return Reservation(
        reservation_id,
        Attribution(department, campaign, agent, run, agent_type, task),
        model,
        amount,
        ReservationState(state),
        Periods(day, month),
        created_at,
        expires_at,
        owner,
        caller,
        request_digest,
        price_version,
        would_deny,
        labels,
        ended_at,
        ended_by,
        charged,
        committed,
        commit_digest,
        late,
        Priority(priority),
        _use(override_id, override_amount, parts) if override_id else None,
    )


def _use(override_id: str, amount: Decimal, parts: Iterable[Sequence[str]]) -> OverrideUse:
    return OverrideUse(
        override_id,
        amount,
        {(Scope(ScopeKind(kind), scope_id), Window(window)): Decimal(part) for kind, scope_id, window, part in parts},
    )


def _of_use(use: OverrideUse | None) -> dict[str, Any]:
    if use is None:
        return NO_USE
    parts = [[*scope, window, str(part)] for (scope, window), part in use.parts.items()]
    return {"override_id": use.override_id, "override_amount": str(use.amount), "override_parts": parts}


def of_reservation(held: Reservation) -> dict[str, Any]:
    """Write a reservation as the row that RESERVATION_TYPES describe."""
    attribution = held.attribution
    return {
        "reservation_id": held.reservation_id,
        "department": attribution.department,
        "campaign": attribution.campaign,
        "agent": attribution.agent,
        "run": attribution.run,
        "agent_type": attribution.agent_type,
        "task": attribution.task,
        "model": held.model,
        "amount": str(held.amount),
        "state": held.state,
        "day": held.periods.day,
        "month": held.periods.month,
        "created_at": held.created_at.isoformat(),
        "expires_at": held.expires_at.isoformat(),
        "owner": held.owner,
        "caller": held.caller,
        "request_digest": held.request_digest.hex(),
        "price_version": held.price_version,
        "would_deny": held.would_deny,
        "labels": dict(held.labels),
        "ended_at": held.ended_at and held.ended_at.isoformat(),
        "ended_by": held.ended_by,
        "charged": str(held.charged),
        "committed": None if held.committed is None else str(held.committed),
        "commit_digest": held.commit_digest.hex(),
        "late": held.late,
        "priority": held.priority,
        **_of_use(held.override),
    }


def execution(row: Sequence[Any]) -> Execution:
    """Read the EXECUTION_COLUMNS of a row."""
    (reservation_id, kind, department, campaign, agent, run, agent_type, task, model, day, month, committed_at, cost,
     reserved_amount, outcome, price_version, input_tokens, cached, cache_write, output_tokens, quality_score,
     impact_score, conversions, revenue, latency, labels, late, override_id, override_amount) = row  # fmt: skip
    return Execution(
        reservation_id=reservation_id,
        kind=ExecutionKind(kind),
        attribution=Attribution(department, campaign, agent, run, agent_type, task),
        periods=Periods(day, month),
        committed_at=committed_at,
        cost=cost,
        reserved_amount=reserved_amount,
        outcome=Outcome(outcome),
        model=model,
        price_version=price_version,
        input_tokens=input_tokens,
        cached_input_tokens=cached,
        cache_write_input_tokens=cache_write,
        output_tokens=output_tokens,
        metrics=Metrics(
            quality_score=quality_score,
            impact_score=impact_score,
            conversions=conversions,
            revenue=revenue,
            latency=latency,
        ),
        labels=labels,
        late=late,
        override_id=override_id,
        override_amount=override_amount,
    )


def of_execution(entry: Execution) -> dict[str, Any]:
    """Write an execution as the row that EXECUTION_TYPES describe."""
    attribution = entry.attribution
    metrics = entry.metrics
    return {
        "reservation_id": entry.reservation_id,
        "kind": entry.kind,
        "department": attribution.department,
        "campaign": attribution.campaign,
        "agent": attribution.agent,
        "run": attribution.run,
        "agent_type": attribution.agent_type,
        "task": attribution.task,
        "model": entry.model,
        "day": entry.periods.day,
        "month": entry.periods.month,
        "committed_at": entry.committed_at.isoformat(),
        "cost": str(entry.cost),
        "reserved_amount": str(entry.reserved_amount),
        "outcome": entry.outcome,
        "price_version": entry.price_version,
        "input_tokens": entry.input_tokens,
        "cached_input_tokens": entry.cached_input_tokens,
        "cache_write_input_tokens": entry.cache_write_input_tokens,
        "output_tokens": entry.output_tokens,
        "quality_score": metrics.quality_score,
        "impact_score": metrics.impact_score,
        "conversions": metrics.conversions,
        "revenue": str(metrics.revenue) if metrics is not NO_METRICS else "0",
        "latency": _interval(metrics.latency),
        "labels": dict(entry.labels),
        "late": entry.late,
        "override_id": entry.override_id,
        "override_amount": str(entry.override_amount),
    }


def _interval(latency: timedelta | None) -> str | None:
    return None if latency is None else f"{latency.days} days {latency.seconds}.{latency.microseconds:06} seconds"


def add_budgets(
    budgets: dict[tuple[Scope, Window], Budget], balances: dict[BalanceKey, Balance], found: Iterable[Sequence[Any]]
) -> None:
    """Read rows of budgets joined with their balances."""
    for kind, scope_id, budget_window, cap, enforcement, frozen, thresholds, normal, batch, period, *balance in found:
        scope, window = Scope(ScopeKind(kind), scope_id), Window(budget_window)
        budget = budgets.get((scope, window))
        if budget is None:
            budget = budgets[scope, window] = Budget(
                scope=scope,
                window=window,
                cap=cap,
                enforcement=Enforcement(enforcement),
                thresholds=tuple(thresholds),
                floors=Floors(normal, batch),
                frozen=frozen,
            )
        if period is not None:
            key = BalanceKey(scope, window, period)
            balances[key] = balance_of(key, budget, balance)


def balance_of(key: BalanceKey, budget: Budget, columns: Sequence[Any]) -> Balance:
    """Read the BALANCE_COLUMNS behind the key, of a balance of `budget`."""
    (cap, enforcement, reserved, spent, excess, would_deny_count, overridden, alerted_spent, alerted_used,
     alert_round) = columns  # fmt: skip
    return Balance(
        key,
        cap,
        Enforcement(enforcement),
        budget.frozen,
        reserved,
        spent,
        excess,
        would_deny_count,
        overridden,
        Alerted(alerted_spent, alerted_used, alert_round),
        budget.floors,
        budget.thresholds,
    )


def of_key(key: BalanceKey) -> dict[str, Any]:
    """Write a balance's key."""
    return {
        "scope_kind": key.scope.kind,
        "scope_id": key.scope.id,
        "budget_window": key.window,
        "period": key.period,
    }


def of_balance(balance: Balance) -> dict[str, Any]:
    """Write a balance as the row that BALANCE_TYPES describe."""
    return {
        **of_key(balance.key),
        "cap": str(balance.cap),
        "enforcement": balance.enforcement,
        "reserved": str(balance.reserved),
        "spent": str(balance.spent),
        "excess": str(balance.excess),
        "would_deny_count": balance.would_deny_count,
        "overridden": str(balance.overridden),
        "alerted_spent": balance.alerted.spent,
        "alerted_used": balance.alerted.used,
        "alert_round": balance.alerted.round,
    }


def of_alert(alert: Alert) -> dict[str, Any]:
    """Write an alert as the row that ALERT_TYPES describe."""
    return {
        "kind": alert.kind,
        **(of_key(alert.key) if alert.key else dict.fromkeys(KEY_TYPES, "")),
        "basis": alert.basis or "",
        "threshold": alert.threshold,
        "round": alert.round,
        "subject": alert.subject,
        "message": alert.message,
        "cap": str(alert.cap),
        "spent": str(alert.spent),
        "reserved": str(alert.reserved),
        "occurred_at": alert.occurred_at.isoformat(),
    }


def of_excess(excess: Excess) -> dict[str, Any]:
    """Write an excess as the row that EXCESS_TYPES describe."""
    return {
        **of_key(excess.key),
        "kind": excess.kind,
        "amount": str(excess.amount),
        "reservation_id": excess.reservation_id,
    }


def of_denial(denial: Denial) -> dict[str, Any]:
    """Write a denial as the row that DENIAL_TYPES describe, but for its seal."""
    balance = denial.denied.balance
    caller, peer = denial.actor
    return {
        "reservation_id": denial.reservation_id,
        **denial.attribution._asdict(),
        "model": denial.model,
        "reason": denial.denied.reason,
        **(of_key(balance.key) if balance else dict.fromkeys(KEY_TYPES)),
        "requested": str(denial.requested),
        "shortfall": str(denial.denied.shortfall),
        "headroom_at": denial.headroom_at and denial.headroom_at.isoformat(),
        "denied_at": denial.denied_at.isoformat(),
        "caller": caller.caller_id,
        "actor": caller.name,
        "actor_role": caller.role,
        "peer": peer,
    }


def match(key: BalanceKey) -> tuple[str, str, list[str]]:
    """Return the conditions on a reservation or execution to count for a balance, and their parameters in order."""
    scope_column = SCOPE_COLUMNS.get(key.scope.kind)
    period_column = PERIOD_COLUMNS.get(key.window)
    parameters = [key.scope.id] * bool(scope_column) + [key.period] * bool(period_column)
    return (
        f"{scope_column} = %s" if scope_column else "true",
        f"{period_column} = %s" if period_column else "true",
        parameters,
    )
