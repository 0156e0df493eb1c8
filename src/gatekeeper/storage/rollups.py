"""How do executions get into the rollups? Each once, up to a mark that only goes on.

What was recorded before the newest execution of an organization is final: its books are written under a lock, and
their clock never steps back behind that execution. So all of it can be added up, and nothing is ever taken back.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatekeeper.domain.invoices import BEGINNING

from .connections import Connection

# What distinguishes rollups of one organization that are of one month and one date of recording.
KEY = (
    "day",
    "department",
    "campaign",
    "agent",
    "agent_type",
    "model",
    "override_id",
    "kind",
    "outcome",
    "late",
)

# What is added up, and what each execution adds.
MEASURES: Mapping[str, str] = {
    "entries": "1",
    **{name: name for name in ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens")},
    "conversions": "conversions",
    "quality_scores": "(quality_score IS NOT NULL)::integer",
    "impact_scores": "(impact_score IS NOT NULL)::integer",
    "latencies": "(latency IS NOT NULL)::integer",
    "cost": "cost",
    "reserved_amount": "reserved_amount",
    "overage_amount": "greatest(cost - reserved_amount, 0)",
    "override_amount": "override_amount",
    "revenue": "revenue",
    "quality_sum": "coalesce(quality_score, 0)",
    "impact_sum": "coalesce(impact_score, 0)",
    "latency_sum": "coalesce(latency, interval '0')",
}
# Stands for the key in the index, which a row of long names does not fit into. A row's text quotes what would make two
# of them alike.
KEY_HASH = f"sha256(convert_to(ROW({', '.join(KEY)})::text, 'UTF8'))"
# The UTC date of recording, whatever the session's time zone is.
RECORDED_ON = "(committed_at AT TIME ZONE 'UTC')::date"

# Organizations with executions that are not final in the rollups yet. Without a lock; for each organization one probe
# of spend_marks_pkey and one of executions_newest_idx.
BEHIND = """
SELECT o.organization FROM organizations o
CROSS JOIN LATERAL (
    SELECT max(committed_at) AS at FROM executions WHERE organization = o.organization OFFSET 0
) AS newest
LEFT JOIN LATERAL (SELECT recorded_before FROM spend_marks WHERE organization = o.organization OFFSET 0) AS mark ON true
WHERE newest.at > coalesce(mark.recorded_before, %s)
ORDER BY o.organization
"""

# Makes the mark of an organization that has none.
BEGIN = "INSERT INTO spend_marks (organization, recorded_before) VALUES (%s, %s) ON CONFLICT DO NOTHING"

# Locks the mark by its primary key, unless another process adds up this organization; never waits.
LOCK = "SELECT recorded_before FROM spend_marks WHERE organization = %s FOR UPDATE SKIP LOCKED"

# Finds up to where to add up, and whether more is left behind that: some `limit` executions from the mark on, or all
# that are older than the newest one. Where more than the limit are of the mark's own instant, all of these come at
# once. By executions_newest_idx alone.
NEXT = """
SELECT coalesce(
    nullif(coalesce(full_step.at, newest.at), %(mark)s),
    (SELECT min(committed_at) FROM executions WHERE organization = %(organization)s AND committed_at > %(mark)s)),
    full_step.at IS NOT NULL
FROM (SELECT max(committed_at) AS at FROM executions WHERE organization = %(organization)s) AS newest
LEFT JOIN (
    SELECT committed_at AS at FROM executions WHERE organization = %(organization)s AND committed_at >= %(mark)s
    ORDER BY committed_at OFFSET %(limit)s LIMIT 1
) AS full_step ON true
"""

# Adds executions to the rollups that they belong to, by executions_newest_idx and spend_rollups_pkey.
ADD = f"""
INSERT INTO spend_rollups AS r (organization, month, recorded_on, key_hash, {", ".join(KEY)}, {", ".join(MEASURES)})
SELECT organization, month, {RECORDED_ON}, {KEY_HASH}, {", ".join(KEY)},
       {", ".join(f"sum({each})" for each in MEASURES.values())}
FROM executions
WHERE organization = %(organization)s AND committed_at >= %(mark)s AND committed_at < %(next)s
GROUP BY 1, 2, 3, {", ".join(KEY)}
ON CONFLICT (organization, month, recorded_on, key_hash) DO UPDATE SET
    {", ".join(f"{name} = r.{name} + excluded.{name}" for name in MEASURES)}
"""

ADVANCE = "UPDATE spend_marks SET recorded_before = %(next)s WHERE organization = %(organization)s"

# By the index, also where nothing is known of the table; quick statements need no compiler.
BY_INDEX = """
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL jit = off
"""


async def behind(connection: Connection) -> list[str]:
    """Return the organizations with executions that are not in the rollups and could be."""
    cursor = await connection.execute(BEHIND, (BEGINNING,))
    return [row[0] for row in await cursor.fetchall()]


async def add_next(connection: Connection, organization: str, limit: int) -> bool:
    """Add the next executions of an organization to its rollups, some `limit` of them, in one transaction.

    Return whether more are left. None are added while another process is at it, nor where none is final.
    """
    await connection.execute(BEGIN, (organization, BEGINNING))
    async with connection.transaction():
        await connection.execute(BY_INDEX)
        row = await (await connection.execute(LOCK, (organization,))).fetchone()
        if row is None:
            return False
        asked = {"organization": organization, "mark": row[0], "limit": limit}
        found = await (await connection.execute(NEXT, asked)).fetchone()
        assert found is not None
        following, is_full = found
        if following is None:
            return False
        step = {"organization": organization, "mark": row[0], "next": following}
        await connection.execute(ADD, step)
        await connection.execute(ADVANCE, step)
        return bool(is_full)
