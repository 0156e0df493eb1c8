"""How far has an alert come on each channel, and when is it tried again?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .alerts import Alert

PAUSE_MAX_S = 3600.0
# Doublings after which the shortest first pause has long been beyond the longest.
DOUBLINGS_MAX = 32
# By how much chance shortens a pause, so that what failed together is not tried again together.
JITTER = 0.25


class DeliveryState(StrEnum):
    """How far an alert has come on one channel. DEAD: it was tried too often."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An alert as channels tell it. `alert_id` is the same on every attempt and channel.

    `currency` is the organization's; both are empty for what concerns the whole installation.
    """

    alert_id: int
    organization: str
    currency: str
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An alert on its way through one channel. `last_error` says why it did not arrive the last time."""

    channel: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    delivered_at: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAlert:
    """An alert, and how far it has come; without deliveries until it was handed to the channels."""

    notice: Notice
    deliveries: Sequence[Delivery] = ()


def pause_s(attempts: int, first_s: float) -> float:
    """Return how long to wait after so many attempts: `first_s` after the first, then twice as long, up to an hour."""
    return min(PAUSE_MAX_S, first_s * 2.0 ** min(attempts - 1, DOUBLINGS_MAX))


def jittered_s(whole_s: float, chance: float) -> float:
    """Return a pause that is shorter by up to a quarter, by a `chance` from 0 to 1."""
    return whole_s * (1 - JITTER * chance)
