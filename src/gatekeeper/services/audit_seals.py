"""Does a seal fit the row that it is on, and whose is it?"""

from __future__ import annotations

import hmac
from enum import Enum, auto

import structlog

from gatekeeper.domain.audit import KEY_ID_BYTES, AuditKey, Content
from gatekeeper.storage import audit_chain as storage
from gatekeeper.storage.connections import Pool, wrap_errors

log = structlog.get_logger(__name__)


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
    """Tells about seals, by one key and those that are older."""

    def __init__(self, key: AuditKey) -> None:
        """Take these keys for ours."""
        self._keys = {known.key_id: known for known in (*key.older, key)}
        self._keyless = AuditKey()

    def state(self, content: Content, seal: bytes | None) -> SealState:
        """Return what is known of the seal on this content."""
        if seal is None:
            return SealState.MISSING
        key_id = seal[:KEY_ID_BYTES]
        if key := self._keys.get(key_id):
            return SealState.RIGHT if hmac.compare_digest(key.seal(content), seal) else SealState.WRONG
        if key_id == self._keyless.key_id:
            fits = hmac.compare_digest(self._keyless.seal(content), seal)
            return SealState.KEYLESS if fits else SealState.WRONG
        return SealState.FOREIGN


async def warn_of_other_key(pool: Pool, key: AuditKey) -> None:
    """Log a warning where none of our keys sealed the newest entry: another process has another one, or none.

    Raises `DatabaseUnavailable`.
    """
    with wrap_errors():
        async with pool.connection() as connection:
            seal = await storage.newest_seal(connection)
    known = [known.key_id.hex() for known in (key, *key.older)]
    if seal is not None and seal[:KEY_ID_BYTES].hex() not in known:
        log.warning("audit.key_differs", newest_sealed_with=seal[:KEY_ID_BYTES].hex(), known=known)
