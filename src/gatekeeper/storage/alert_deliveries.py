"""How are alerts handed to channels, claimed, and tried until they arrive?

Deliveries are claimed for a while before they are tried: whoever claims one and dies leaves it to the others. What is
due is decided by `now()`: an index can be asked for it, and none of these statements waits for a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from gatekeeper.domain.alert_deliveries import DeliveryState, Notice

from .alerts import NOTICE_COLUMNS, notice
from .connections import Connection

# Characters of an error that are kept.
ERROR_LENGTH_MAX = 200

# Says of channels that a server has them, by the primary key, in one order, so that no two wait for each other.
SEEN = """
INSERT INTO alert_channels (organization, channel, last_seen_at)
SELECT '', channel, now() FROM unnest(%(channels)s::text[]) AS c(channel) ORDER BY channel
ON CONFLICT (organization, channel) DO UPDATE SET last_seen_at = excluded.last_seen_at
"""

# The channels that any server has, or had so long ago that one may be on its way up again.
KNOWN = """
    SELECT channel FROM alert_channels WHERE organization = '' AND last_seen_at > now() - %(patience)s
    UNION SELECT unnest(%(channels)s::text[])
"""

# Hands the oldest alerts that wait to the channels, those of other servers too: by the index on those that were not
# dispatched. Locks their rows; passes by those that another process is handing over.
DISPATCH = f"""
WITH known AS ({KNOWN}), waiting AS MATERIALIZED (
    SELECT organization, alert_id FROM alerts WHERE dispatched_at IS NULL
    ORDER BY alert_id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), handed AS (
    INSERT INTO alert_deliveries (organization, alert_id, channel, next_attempt_at)
    SELECT organization, alert_id, channel, now() FROM waiting CROSS JOIN known
    ON CONFLICT DO NOTHING
)
UPDATE alerts AS a SET dispatched_at = now()
FROM waiting AS w WHERE a.organization = w.organization AND a.alert_id = w.alert_id
"""

# Claims deliveries of a channel that are due: of each organization behind another one the first, so that none waits for
# all that another one has. Steps from organization to organization by the index on pending ones, no further than it has
# to. Locks their rows; passes by those that another process is claiming. Until the lease ends, after the attempt and
# the pause behind it, nobody else tries.
CLAIM = f"""
WITH RECURSIVE waiting AS (
    (SELECT organization FROM alert_deliveries
    WHERE state = 'PENDING' AND channel = %(channel)s AND organization {{behind}} %(last)s
    ORDER BY organization LIMIT 1)
    UNION ALL
    SELECT following.organization FROM waiting w CROSS JOIN LATERAL (
        SELECT organization FROM alert_deliveries
        WHERE state = 'PENDING' AND channel = %(channel)s AND organization > w.organization
        ORDER BY organization LIMIT 1
    ) AS following
), due AS MATERIALIZED (
    SELECT first.* FROM waiting w CROSS JOIN LATERAL (
        SELECT organization, alert_id, channel FROM alert_deliveries
        WHERE state = 'PENDING' AND channel = %(channel)s AND organization = w.organization
            AND next_attempt_at <= now()
        ORDER BY next_attempt_at, alert_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) AS first
    LIMIT %(limit)s
), claimed AS (
    UPDATE alert_deliveries AS d SET
        attempts = d.attempts + 1,
        next_attempt_at = now()
            + make_interval(secs => %(leases_s)s[least(d.attempts + 1, cardinality(%(leases_s)s))])
    FROM due
    WHERE d.organization = due.organization AND d.alert_id = due.alert_id AND d.channel = due.channel
    RETURNING d.organization, d.alert_id, d.attempts
)
SELECT c.attempts, {NOTICE_COLUMNS}
FROM claimed c JOIN alerts a USING (organization, alert_id)
LEFT JOIN organizations o ON o.organization = a.organization
ORDER BY c.organization
"""
CLAIM_FROM_FIRST = CLAIM.format(behind=">=")
CLAIM_BEHIND = CLAIM.format(behind=">")

# Writes down that an alert has arrived, by the primary key. That stays so, whatever another attempt may find.
DELIVERED = """
UPDATE alert_deliveries SET state = 'DELIVERED', delivered_at = now()
WHERE organization = %(organization)s AND alert_id = %(alert_id)s AND channel = %(channel)s AND state <> 'DELIVERED'
"""

# Writes down that an attempt failed, by the primary key, unless another one has begun since.
FAILED = """
UPDATE alert_deliveries SET
    state = CASE WHEN attempts < %(attempts_max)s THEN 'PENDING' ELSE 'DEAD' END,
    next_attempt_at = now() + make_interval(secs => %(pause_s)s),
    last_error = %(error)s
WHERE organization = %(organization)s AND alert_id = %(alert_id)s AND channel = %(channel)s
    AND state = 'PENDING' AND attempts = %(attempts)s
RETURNING state
"""

# Gives up deliveries that nobody has tried for long after they were due, on channels that no server has: by the index
# on pending ones. Locks their rows.
ABANDON = f"""
UPDATE alert_deliveries SET state = 'DEAD', last_error = %(error)s
WHERE state = 'PENDING' AND channel NOT IN ({KNOWN}) AND next_attempt_at < now() - %(patience)s
"""

# Tries anew what was given up of an organization's alerts that are not too old, by the index on dead ones. Locks the
# rows of those.
RETRY = """
UPDATE alert_deliveries AS d SET state = 'PENDING', attempts = 0, next_attempt_at = now()
FROM alerts AS a
WHERE d.organization = %(organization)s AND d.state = 'DEAD'
    AND a.organization = d.organization AND a.alert_id = d.alert_id AND a.occurred_at > now() - %(age_max)s
"""


class Claim(NamedTuple):
    """An alert that is ours to deliver, and the how many-th attempt this is."""

    attempts: int
    notice: Notice


async def see(connection: Connection, channels: Sequence[str]) -> None:
    """Write down that a server has these channels."""
    await connection.execute(SEEN, {"channels": list(channels)})


async def dispatch(connection: Connection, channels: Sequence[str], *, patience: timedelta, limit: int) -> int:
    """Hand alerts that wait to these channels, and to all that a server had within `patience`; return how many."""
    cursor = await connection.execute(DISPATCH, {"channels": list(channels), "patience": patience, "limit": limit})
    return cursor.rowcount


async def claim(
    connection: Connection, channel: str, *, last: str | None, leases_s: Sequence[float], limit: int
) -> list[Claim]:
    """Claim due deliveries of a channel, one of each organization behind `last`, in their order (None: of any).

    `leases_s` says for how long, by the number of the attempt.
    """
    statement = CLAIM_FROM_FIRST if last is None else CLAIM_BEHIND
    parameters = {"channel": channel, "last": last or "", "leases_s": list(leases_s), "limit": limit}
    cursor = await connection.execute(statement.encode(), parameters)
    return [Claim(attempts, notice(columns)) for attempts, *columns in await cursor.fetchall()]


async def set_delivered(connection: Connection, channel: str, told: Notice) -> None:
    """Write down that an alert has arrived on a channel."""
    await connection.execute(DELIVERED, _key(channel, told))


async def set_failed(
    connection: Connection, channel: str, claimed: Claim, *, error: str, pause_s: float, attempts_max: int
) -> DeliveryState | None:
    """Write down that an attempt failed; return what becomes of the delivery (None: another attempt decides that)."""
    parameters = {
        **_key(channel, claimed.notice),
        "attempts": claimed.attempts,
        "error": error[:ERROR_LENGTH_MAX],
        "pause_s": pause_s,
        "attempts_max": attempts_max,
    }
    row = await (await connection.execute(FAILED, parameters)).fetchone()
    return None if row is None else DeliveryState(row[0])


async def abandon(connection: Connection, channels: Sequence[str], *, patience: timedelta, error: str) -> int:
    """Give up what has been due for longer than `patience` on channels that no server had since; return how many.

    `channels` are there, whatever is written down.
    """
    parameters = {"channels": list(channels), "patience": patience, "error": error}
    return (await connection.execute(ABANDON, parameters)).rowcount


async def retry(connection: Connection, organization: str, age_max: timedelta) -> int:
    """Let what was given up of alerts that are not older than `age_max` be tried anew; return how many it were."""
    return (await connection.execute(RETRY, {"organization": organization, "age_max": age_max})).rowcount


def _key(channel: str, told: Notice) -> dict[str, Any]:
    return {"organization": told.organization, "alert_id": told.alert_id, "channel": channel}
