"""What is written down about a change, and how does a row show that it was tampered with?

Whoever writes a row seals its content. Behind the hot path the seals are chained, organization by organization: each
link holds the one before it, so that a row that was changed, removed, put in or swapped breaks the chain.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from .access import Actor

KEY_ID_BYTES = 4
LINK_BYTES = 32
CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
Content = Mapping[str, str | None]


class AuditAction(StrEnum):
    """What was done."""

    ORGANIZATION_OPENED = "ORGANIZATION_OPENED"
    POLICY_CHANGED = "POLICY_CHANGED"
    BUDGET_SET = "BUDGET_SET"
    BUDGET_FROZEN = "BUDGET_FROZEN"
    BUDGET_UNFROZEN = "BUDGET_UNFROZEN"
    PRICE_SET = "PRICE_SET"
    TOKEN_CREATED = "TOKEN_CREATED"  # noqa: S105 - an action, not a secret
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105
    RESERVATION_RELEASED = "RESERVATION_RELEASED"
    OVERRIDE_REQUESTED = "OVERRIDE_REQUESTED"
    OVERRIDE_GRANTED = "OVERRIDE_GRANTED"
    OVERRIDE_APPROVED = "OVERRIDE_APPROVED"
    OVERRIDE_DECLINED = "OVERRIDE_DECLINED"
    OVERRIDE_ENDED = "OVERRIDE_ENDED"
    OVERRIDE_USED = "OVERRIDE_USED"
    INVOICE_ISSUED = "INVOICE_ISSUED"
    INVOICE_CREDITED = "INVOICE_CREDITED"
    BILLING_PROFILE_SET = "BILLING_PROFILE_SET"
    CALL_DENIED = "CALL_DENIED"


class AuditSource(StrEnum):
    """Which table a link of the chain is about."""

    EVENT = "EVENT"
    DENIAL = "DENIAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """A change: who, from where, when, to what, what was before and is after (None: nothing), and why."""

    action: AuditAction
    actor: Actor
    subject: str
    occurred_at: datetime
    before: Content | None = None
    after: Content | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AuditKey:
    """What seals are made with. Without a secret they show tampering by those who do not know how they are made.

    `older` are keys that sealed before this one, and whose seals count as well.
    """

    secret: bytes = field(default=b"", repr=False)
    older: tuple[AuditKey, ...] = ()
    # What tells this key from others; zeros without a secret.
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Derive the id, which tells nothing of the secret."""
        digest = hashlib.sha256(b"gatekeeper audit key" + self.secret).digest()
        object.__setattr__(self, "key_id", digest[:KEY_ID_BYTES] if self.secret else bytes(KEY_ID_BYTES))

    def seal(self, content: Content) -> bytes:
        """Return the key's id and the code of a row's content (36 bytes)."""
        return self.key_id + hmac.digest(self.secret, CANONICAL(content).encode(), "sha256")


def first_link(organization: str) -> bytes:
    """Return what stands before an organization's first link."""
    return hashlib.sha256(b"gatekeeper audit chain\0" + organization.encode()).digest()


def link(previous: bytes, sequence: int, source: AuditSource, source_id: int, seal: bytes) -> bytes:
    """Return the link at `sequence` (from 1 on), about the row `source_id` with this seal."""
    return hashlib.sha256(previous + f"{sequence}\0{source}\0{source_id}\0".encode() + seal).digest()
