"""How is a month read as a whole? In one snapshot, by statements that may take longer than a page of a list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from .connections import Connection, Pool, wrap_errors

# A month may have millions of calls. Whoever asks for it as a whole waits that long at most.
MONTH_STATEMENT_TIMEOUT_S = 300

# One snapshot for all statements, so that the figures agree with each other; more memory to group and sort by. Each
# reads by an index what it is about, however little the planner makes of one month among all that there were; on one
# processor, for the others are the calls'.
BEGIN = f"""
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = '{MONTH_STATEMENT_TIMEOUT_S}s';
SET LOCAL idle_in_transaction_session_timeout = '{MONTH_STATEMENT_TIMEOUT_S}s';
SET LOCAL work_mem = '32MB';
SET LOCAL enable_seqscan = off;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL jit = off
"""

# What time it is in an organization's books: the clock's, unless that was put back behind what they have, as their lock
# takes it (books.CLOCK). And before when all was recorded that this snapshot has of them: just behind the newest
# execution, or when they were opened; whatever is recorded later is not older than that execution. By
# executions_newest_idx and reservations_newest_idx.
TIMES = """
SELECT greatest(
    clock_timestamp(),
    (SELECT max(created_at) FROM reservations WHERE organization = o.organization),
    o.billed_until,
    recorded.before), recorded.before
FROM organizations o CROSS JOIN LATERAL (
    SELECT coalesce(max(committed_at) + interval '1 microsecond', o.created_at) AS before
    FROM executions WHERE organization = o.organization OFFSET 0
) AS recorded
WHERE o.organization = %s
"""


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """Yield a connection that reads one snapshot, taken by its first statement. Raises `DatabaseUnavailable`."""
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(BEGIN)
            yield connection


async def read_times(connection: Connection, organization: str) -> tuple[datetime, datetime]:
    """Return what time it is in an organization's books, and before when all was recorded that this snapshot has.

    The second is not later than the first.
    """
    row = await (await connection.execute(TIMES, (organization,))).fetchone()
    assert row is not None
    now, recorded_before = row
    return now, recorded_before
