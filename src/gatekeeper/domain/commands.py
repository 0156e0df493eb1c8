"""What can be asked of the ledger? One class for each operation on a reservation.

The RPC layer has checked their form; what they mean is checked by the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from .access import SYSTEM, Actor
from .budget import Priority
from .prices import TokenCounts
from .reservation import NO_METRICS, Attribution, Metrics, Outcome

TTL_DEFAULT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount in a currency; an empty currency means the organization's."""

    amount: Decimal
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of a model; an empty model means: priced by agent type, or in a commit: the reservation's."""

    model: str
    counts: TokenCounts


@dataclass(slots=True, kw_only=True)
class Reserve:
    """Hold an estimate. `digest` stands for the request's whole content.

    `override_id` names the only override that may pay for it; `override_request` is why one should, and asks for it
    where the call is denied.
    """

    reservation_id: str
    attribution: Attribution
    estimate: Money | Tokens
    ttl: timedelta
    digest: bytes
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    override_id: str = ""
    override_request: str = ""
    validate_only: bool = False
    actor: Actor = SYSTEM


@dataclass(slots=True, kw_only=True)
class Commit:
    """Record the real cost. An empty `revenue_currency` means the organization's."""

    reservation_id: str
    cost: Money | Tokens
    outcome: Outcome
    digest: bytes
    metrics: Metrics = NO_METRICS
    revenue_currency: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    actor: Actor = SYSTEM


@dataclass(slots=True, kw_only=True)
class Release:
    """Give the hold back; `reason` says why, where it is another caller's."""

    reservation_id: str
    reason: str = ""
    actor: Actor = SYSTEM


@dataclass(slots=True, kw_only=True)
class Extend:
    """Prolong the hold, raise it, or both."""

    reservation_id: str
    ttl: timedelta | None = None
    amount: Money | None = None
    actor: Actor = SYSTEM


@dataclass(slots=True, kw_only=True)
class Expire:
    """End the hold if its time is over. Asked by the server itself."""

    reservation_id: str
    actor: Actor = SYSTEM


Command = Reserve | Commit | Release | Extend | Expire
