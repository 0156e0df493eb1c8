"""Where do reservation ids come from? From here, so that a retry repeats the id and never holds twice.

They are UUIDv7 (RFC 9562): the time in front keeps neighbours in time neighbours in the ledger's index, so that inserts
touch its last pages instead of all of them. Python has no `uuid.uuid7` before 3.14.
"""

from __future__ import annotations

import secrets
import time
from uuid import UUID

NS_PER_MS = 1_000_000


def new_reservation_id() -> str:
    """Return a fresh UUIDv7.

    The 12 bits behind the millisecond are its fraction (RFC 9562, method 3), so ids of one process ascend in steps of
    244 ns without a counter to share between threads and forks; 62 random bits keep equal instants apart.
    """
    milliseconds, rest_ns = divmod(time.time_ns(), NS_PER_MS)
    fraction = (rest_ns << 12) // NS_PER_MS
    return str(UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)))
