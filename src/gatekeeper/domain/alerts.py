"""When is somebody told how a budget stands? Once for each crossing of a threshold, in the transaction that crosses it.

What has been told is kept with the balance, by two bases: what is spent, and what is spent and reserved together. It
stays told for the period, however holds come and go; a changed cap lets go of what is no longer crossed::

    cap 100, thresholds 80, 95, 100      spent 82: alert at 80 %       spent 96: alert at 95 %
    cap 200 from now on                  spent 96: 80 and 95 % are resolved, and armed again
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from .budget import HUNDRED, Alerted, Balance, BalanceKey, ScopeKind
from .money import ZERO, plain


class AlertKind(StrEnum):
    """What an alert tells."""

    THRESHOLD = "THRESHOLD"
    RESOLVED = "RESOLVED"
    BURN_RATE = "BURN_RATE"
    RUNAWAY = "RUNAWAY"
    OVERRIDE_REQUESTED = "OVERRIDE_REQUESTED"
    VERIFICATION_FAILED = "VERIFICATION_FAILED"
    TEST = "TEST"


class AlertBasis(StrEnum):
    """What is compared with a threshold: spent alone, or spent and reserved together."""

    SPENT = "SPENT"
    USED = "USED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something to be told once. `key` is None where it is about no budget; `subject` then says about what.

    One is unique by organization, kind, key, basis, threshold, round and subject.
    """

    kind: AlertKind
    message: str
    occurred_at: datetime
    key: BalanceKey | None = None
    basis: AlertBasis | None = None
    threshold: int = 0
    round: int = 0
    subject: str = ""
    cap: Decimal = ZERO
    spent: Decimal = ZERO
    reserved: Decimal = ZERO


def is_due(balance: Balance) -> bool:
    """Tell whether a balance stands above a threshold that has not been told. Cheap: asked of every changed balance."""
    if not (thresholds := balance.thresholds):
        return False
    alerted, last = balance.alerted, thresholds[-1]
    if alerted.used >= last and alerted.spent >= last:
        return False
    spent = HUNDRED * balance.spent
    return _is_above(spent, alerted.spent, balance) or _is_above(
        spent + HUNDRED * balance.reserved, alerted.used, balance
    )


def _is_above(hundredfold: Decimal, alerted: int, balance: Balance) -> bool:
    if not hundredfold:
        return False
    for threshold in balance.thresholds:
        if threshold > alerted:
            return hundredfold >= threshold * balance.cap
    return False


def crossings(balance: Balance, currency: str, now: datetime) -> tuple[list[Alert], Balance]:
    """Return an alert for each threshold that is crossed and was not told, and the balance that knows of them."""
    alerted, alerts = balance.alerted, []
    marks = {}
    for basis, told in ((AlertBasis.SPENT, alerted.spent), (AlertBasis.USED, alerted.used)):
        reached = _reached(balance, basis)
        alerts += [
            _threshold_alert(AlertKind.THRESHOLD, balance, basis, threshold, currency=currency, now=now)
            for threshold in balance.thresholds
            if told < threshold <= reached
        ]
        marks[basis] = max(told, reached)
    marked = Alerted(marks[AlertBasis.SPENT], marks[AlertBasis.USED], alerted.round)
    return alerts, balance._replace(alerted=marked)


def rearm(balance: Balance, before: Balance, currency: str, now: datetime) -> tuple[list[Alert], Balance]:
    """Return what is to be told when a balance got another cap or other thresholds than `before`, and what it knows.

    What is no longer crossed is resolved and armed again; what is crossed only now is alerted; the rest stays told.
    """
    if (balance.cap, balance.thresholds) == (before.cap, before.thresholds):
        return crossings(balance, currency, now)
    resolved, kept = [], {}
    for basis, told in ((AlertBasis.SPENT, before.alerted.spent), (AlertBasis.USED, before.alerted.used)):
        # A threshold that is no longer asked for may be crossed still: then there is nothing to resolve.
        stands = _reached(balance._replace(thresholds=before.thresholds), basis)
        resolved += [
            _threshold_alert(AlertKind.RESOLVED, balance, basis, threshold, currency=currency, now=now)
            for threshold in before.thresholds
            if stands < threshold <= told
        ]
        kept[basis] = min(told, stands)
    marked = Alerted(kept[AlertBasis.SPENT], kept[AlertBasis.USED], before.alerted.round + 1)
    armed = balance._replace(alerted=marked)
    alerts, armed = crossings(armed, currency, now)
    return [*resolved, *alerts], armed


def _reached(balance: Balance, basis: AlertBasis) -> int:
    """Return the highest threshold that is crossed, 0 if none is. A cap of zero is crossed by whatever is used."""
    used = HUNDRED * _amount(balance, basis)
    if used == ZERO:
        return 0
    return max((threshold for threshold in balance.thresholds if used >= threshold * balance.cap), default=0)


def _amount(balance: Balance, basis: AlertBasis) -> Decimal:
    return balance.spent if basis is AlertBasis.SPENT else balance.used


def _threshold_alert(
    kind: AlertKind, balance: Balance, basis: AlertBasis, threshold: int, *, currency: str, now: datetime
) -> Alert:
    what = "spent" if basis is AlertBasis.SPENT else "spent and held"
    side = "is at or above" if kind is AlertKind.THRESHOLD else "is below"
    used = f"{plain(_amount(balance, basis))} {what} of {plain(balance.cap)} {currency}"
    message = f"{budget_name(balance.key)} {side} {threshold} %: {used}."
    return budget_alert(kind, balance, message, now, basis=basis, threshold=threshold, round=balance.alerted.round)


def budget_alert(kind: AlertKind, balance: Balance, message: str, now: datetime, **more: Any) -> Alert:
    """Return an alert about a budget as it stands now; `more` are fields that this kind has."""
    return Alert(
        kind=kind,
        message=message,
        occurred_at=now,
        key=balance.key,
        cap=balance.cap,
        spent=balance.spent,
        reserved=balance.reserved,
        **more,
    )


def budget_name(key: BalanceKey) -> str:
    """Name a budget's period for people."""
    scope, window, period = key
    subject = "the organization" if scope.kind is ScopeKind.ORGANIZATION else f"{scope.kind.lower()} {scope.id!r}"
    return f"The {window.lower()} budget of {subject} ({period})"
