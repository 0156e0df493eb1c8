"""What do the operations answer, and what do they leave to be written?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from .access import Actor
from .admission import DenialReason, Denied
from .alerts import Alert
from .audit import AuditEvent
from .budget import Balance, BalanceKey, ExcessKind
from .overrides import Override
from .reservation import Attribution, Execution, Reservation


@dataclass(slots=True, kw_only=True)
class Denial:
    """A Reserve or Extend that was not admitted. `headroom_at` is looked up after the decision.

    `override_request` is why the caller wants an override, `requested_override` the one that it has asked for.
    """

    reservation_id: str
    attribution: Attribution
    model: str
    denied: Denied
    requested: Decimal
    message: str
    balances: Sequence[Balance]
    denied_at: datetime
    actor: Actor
    headroom_at: datetime | None = None
    override_request: str = ""
    requested_override: Override | None = None


class Held(NamedTuple):
    """The verdict on a Reserve or Extend that was admitted, or on a Release or Expire."""

    reservation: Reservation
    balances: Sequence[Balance]


class Committed(NamedTuple):
    """What a Commit recorded. `execution` is None when the answer is given again: it is in the billing log."""

    reservation: Reservation
    execution: Execution | None
    balances: Sequence[Balance]


Verdict = Held | Committed | Denial


class Excess(NamedTuple):
    """Why, and by how much more, an enforced budget may stand above its cap."""

    key: BalanceKey
    kind: ExcessKind
    amount: Decimal
    reservation_id: str


@dataclass(slots=True)
class Changes:
    """What a batch has to write."""

    balances: dict[BalanceKey, Balance] = field(default_factory=dict)
    made: dict[str, Reservation] = field(default_factory=dict)
    changed: dict[str, Reservation] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    excesses: list[Excess] = field(default_factory=list)
    denials: list[Denial] = field(default_factory=list)
    audit_events: list[AuditEvent] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    open_holds: Mapping[str, int] = field(default_factory=dict)


def headroom_is_due(denial: Denial) -> bool:
    """Tell whether the denial has to say when held money can come back."""
    return denial.denied.reason is DenialReason.HEADROOM_HELD
