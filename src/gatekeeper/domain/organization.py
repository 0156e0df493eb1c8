"""What is an organization to its books? A name, a currency, a calendar and its policies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .reservation import ExpiryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """Whose books these are, and its policies. `price_version` names its own price book, if it has one.

    `overrides_until` is when the last override that was turned on ends: afterwards there are none to look for.
    """

    organization: str
    currency: str
    time_zone: str
    expiry_policy: ExpiryPolicy
    known_scopes: bool = False
    price_version: str = ""
    overrides_until: datetime | None = None
