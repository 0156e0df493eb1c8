"""How is a month read as a whole? In one snapshot, by statements that may take longer than a page of a list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .connections import Connection, Pool, wrap_errors

# A month may have millions of calls. Whoever asks for it as a whole waits that long at most.
MONTH_STATEMENT_TIMEOUT_S = 300

# One snapshot for all statements, so that the figures agree with each other; more memory to group and sort by.
BEGIN = f"""
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL statement_timeout = '{MONTH_STATEMENT_TIMEOUT_S}s';
SET LOCAL idle_in_transaction_session_timeout = '{MONTH_STATEMENT_TIMEOUT_S}s';
SET LOCAL work_mem = '32MB';
SET LOCAL jit = off
"""


@asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """Yield a connection that reads one snapshot, taken by its first statement. Raises `DatabaseUnavailable`."""
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            await connection.execute(BEGIN)
            yield connection
