"""Does a seal fit the row that it is on, and whose is it?"""

from __future__ import annotations

import hmac
from enum import Enum, auto

from gatekeeper.domain.audit import KEY_ID_BYTES, AuditKey, Content


class SealState(Enum):
    """What is known of a seal."""

    RIGHT = auto()
    KEYLESS = auto()
    """It fits, but was made without a secret, while we have one."""
    FOREIGN = auto()
    """It was made with a key that we do not have, so nobody here can tell."""
    WRONG = auto()
    MISSING = auto()


class Seals:
    """Tells about seals, by one key."""

    def __init__(self, key: AuditKey) -> None:
        """Take this key for ours."""
        self._key = key
        self._key_id = key.key_id
        self._keyless = AuditKey()
        self._keyless_id = self._keyless.key_id

    def state(self, content: Content, seal: bytes | None) -> SealState:
        """Return what is known of the seal on this content."""
        if seal is None:
            return SealState.MISSING
        key_id = seal[:KEY_ID_BYTES]
        if key_id == self._key_id:
            return SealState.RIGHT if hmac.compare_digest(self._key.seal(content), seal) else SealState.WRONG
        if key_id == self._keyless_id:
            fits = hmac.compare_digest(self._keyless.seal(content), seal)
            return SealState.KEYLESS if fits else SealState.WRONG
        return SealState.FOREIGN
