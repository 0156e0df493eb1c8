"""Which months were never billed? Those with executions and without an invoice that stands."""

from __future__ import annotations

from .connections import Connection

# Months of executions in the rollups, one probe of spend_rollups_pkey for each; and of those behind the mark, by
# executions_newest_idx, from the same snapshot. Of each, its invoices by the index on months.
UNBILLED = """
WITH RECURSIVE rolled_up AS (
    SELECT min(month) AS month FROM spend_rollups WHERE organization = %(organization)s
    UNION ALL
    SELECT (SELECT min(r.month) FROM spend_rollups r WHERE r.organization = %(organization)s AND r.month > m.month)
    FROM rolled_up m WHERE m.month IS NOT NULL
), months AS (
    SELECT month FROM rolled_up
    UNION
    SELECT month FROM executions WHERE organization = %(organization)s AND committed_at >= coalesce(
        (SELECT recorded_before FROM spend_marks WHERE organization = %(organization)s), '-infinity')
)
SELECT month FROM months
WHERE month < %(before)s AND NOT EXISTS (
    SELECT FROM invoices i
    WHERE i.organization = %(organization)s AND i.period = months.month AND i.kind = 'INVOICE' AND NOT EXISTS (
        SELECT FROM invoices c
        WHERE c.organization = i.organization AND c.credited_number = i.number AND c.kind = 'CREDIT_NOTE'))
ORDER BY month
"""


async def unbilled_months(connection: Connection, organization: str, before: str) -> list[str]:
    """Return the months before one that have executions and no invoice that stands, the oldest first."""
    cursor = await connection.execute(UNBILLED, {"organization": organization, "before": before})
    return [str(row[0]) for row in await cursor.fetchall()]
