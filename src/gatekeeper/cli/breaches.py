"""What is wrong with an organization's budgets, and with what tells of them?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from .alert_texts import delivery_text, kind_of, state_of
from .output import shown
from .override_texts import minute_text
from .statuses import (
    amount_text,
    budget_text,
    enforcement_of,
    money_text,
    room_text,
    scopes_of,
    status_document,
    tier_of,
)

if TYPE_CHECKING:
    from gatekeeper_client import Client
    from gatekeeper_client.v1.alert_pb2 import Alert
    from gatekeeper_client.v1.budget_pb2 import BudgetStatus

TIERS = ("OK", "WARNING", "CRITICAL", "EXCEEDED")
PAGE_SIZE = 1000

# Older alerts are history: nobody can mend them, and a check must be able to pass again.
LOOK_BACK = timedelta(hours=48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """Something that somebody has to look at: a budget's standing, or an alert."""

    kind: Literal["FROZEN", "TIER", "DELIVERY_DEAD", "VERIFICATION_FAILED"]
    message: str
    budget: BudgetStatus | None = None
    alert_id: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "kind": self.kind,
            "message": self.message,
            "budget": self.budget and status_document(self.budget),
            "alert_id": self.alert_id or None,
        }


def check_scopes(client: Client, organization: str, ids: dict[str, str], at: str) -> dict[str, Any]:
    """Return what is wrong with the budgets of these scopes, and the organization's."""
    scopes = scopes_of(**{name: [scope_id] if scope_id else [] for name, scope_id in ids.items()})
    budgets = client.get_status(organization, scopes=scopes).budgets
    return _answer(organization, at, budgets)


def check_everything(client: Client, organization: str, at: str) -> dict[str, Any]:
    """Return what is wrong with all budgets, with the delivery of alerts, and with the books.

    An agent, who may not list those, is told of the budgets in its status.
    """
    from gatekeeper_client import PermissionDenied

    try:
        budgets = [budget.status for budget in client.list_budgets(organization, page_size=PAGE_SIZE)]
    except PermissionDenied:
        return _answer(organization, at, client.get_status(organization).budgets)
    since = datetime.now(UTC) - LOOK_BACK
    alerts = [*_dead_deliveries(client, organization, since), *_failed_verifications(client, since)]
    return _answer(organization, at, budgets, alerts)


def _answer(
    organization: str, at: str, budgets: Sequence[BudgetStatus], alerts: Sequence[Breach] | None = None
) -> dict[str, Any]:
    breaches = [*_budget_breaches(budgets, at), *(alerts or ())]
    return {
        "organization": organization,
        "ok": not breaches,
        "message": "\n".join(breach.message for breach in breaches) or _ok_text(organization, budgets),
        "at": at,
        "budget_count": len(budgets),
        "alerts_checked": alerts is not None,
        "breaches": [breach.to_document() for breach in breaches],
    }


def _ok_text(organization: str, budgets: Sequence[BudgetStatus]) -> str:
    checked = "1 budget" if len(budgets) == 1 else f"{len(budgets):,} budgets"
    return f"OK: nothing is wrong with {checked} of {organization}; {room_text(budgets)}"


def _budget_breaches(budgets: Iterable[BudgetStatus], at: str) -> Iterator[Breach]:
    for budget in budgets:
        if budget.frozen:
            yield Breach(kind="FROZEN", message=f"{budget_text(budget)} is frozen.", budget=budget)
        elif TIERS.index(tier_of(budget)) >= TIERS.index(at):
            yield Breach(kind="TIER", message=_tier_text(budget), budget=budget)


def _tier_text(budget: BudgetStatus) -> str:
    is_full = tier_of(budget) == "EXCEEDED"
    standing = "is used up" if is_full else f"stands at {budget.utilization_percent:.1f} %"
    enforcement = enforcement_of(budget.enforcement)
    lenient = "" if enforcement == "ENFORCE" else f" ({enforcement}: calls go on)"
    used = f"{amount_text(budget.spent)} spent and {amount_text(budget.reserved)} held of {money_text(budget.cap)}"
    return f"{budget_text(budget)} {standing}: {used}{lenient}."


def _dead_deliveries(client: Client, organization: str, since: datetime) -> Iterator[Breach]:
    for alert in _since(client.list_alerts(organization, delivery_state="DEAD", page_size=PAGE_SIZE), since):
        for delivery in alert.deliveries:
            if state_of(delivery) == "DEAD":
                what = f"alert {kind_of(alert)} of {minute_text(alert.event_time)} UTC: {delivery_text(delivery)}."
                yield Breach(kind="DELIVERY_DEAD", message=what, alert_id=alert.alert_id)


def _failed_verifications(client: Client, since: datetime) -> Iterator[Breach]:
    """Look at the installation's alerts. Who may not see them is shown those of its own organization instead."""
    for alert in _since(client.list_alerts("", kind="VERIFICATION_FAILED", page_size=PAGE_SIZE), since):
        if not alert.organization:
            message = f"{minute_text(alert.event_time)} UTC: {shown(alert.message)}"
            yield Breach(kind="VERIFICATION_FAILED", message=message, alert_id=alert.alert_id)


def _since(alerts: Iterable[Alert], since: datetime) -> Iterator[Alert]:
    """Yield alerts, which come newest first, down to an instant."""
    return takewhile(lambda alert: alert.event_time.ToDatetime(UTC) >= since, alerts)
