"""How is the database reached, and what do its errors mean to us?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gatekeeper.domain.errors import DatabaseUnavailable

Connection: TypeAlias = AsyncConnection[TupleRow]
Pool: TypeAlias = AsyncConnectionPool[Connection]

# How long a call waits for a connection before it is told that the database is away.
POOL_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2
# How long the kernel waits for a sign that what we sent has arrived.
PEER_TIMEOUT_MS = 10_000

# The hot path's statements are prepared while tables may still be empty. Their plans must not be the ones that suit an
# empty table: every one of them has an index. JIT costs more than any of these statements.
HOT_PATH = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
# An acknowledged answer survives a crash, even where the database's default gives that up. Stronger settings stay.
DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

# A statement of the hot path that takes longer is in trouble; it must not hold the organization's lock.
HOT_STATEMENT_TIMEOUT_S = 10
HOT_LOCK_TIMEOUT_S = 5
REPORT_STATEMENT_TIMEOUT_S = 60


def is_lost(error: psycopg.Error) -> bool:
    """Tell whether the error is about the database or the way to it, not about what was asked."""
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout):
        return True
    return isinstance(error, psycopg.errors.QueryCanceled | psycopg.errors.ReadOnlySqlTransaction)


@contextmanager
def wrap_errors() -> Iterator[None]:
    """Turn an error about the database into `DatabaseUnavailable`; let those about the statement through."""
    try:
        yield
    except psycopg.Error as error:
        if is_lost(error):
            raise DatabaseUnavailable from error
        raise


def _options(statement_timeout_s: int, **settings: str) -> str:
    settings |= {
        "statement_timeout": f"{statement_timeout_s}s",
        "lock_timeout": f"{HOT_LOCK_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{statement_timeout_s}s",
        "TimeZone": "UTC",
        # What is read after a lock must be younger than it, whatever the database's default is.
        "default_transaction_isolation": "read committed",
    }
    return "; ".join(f"SET {name} = '{value}'" for name, value in settings.items())


@asynccontextmanager
async def open_pool(database_url: str, *, name: str, size_max: int, hot: bool) -> AsyncIterator[Pool]:
    """Open a pool of autocommit connections; `hot` for the hot path, else for reads of any size.

    It opens without a database too, and finds it when it comes.
    """
    pool: Pool = AsyncConnectionPool(
        database_url,
        name=name,
        min_size=1,
        max_size=size_max,
        timeout=POOL_TIMEOUT_S,
        reconnect_timeout=POOL_TIMEOUT_S,
        configure=partial(_configure, hot=hot),
        # Who reads has no second try, and time for a look whether the connection still stands.
        check=None if hot else AsyncConnectionPool.check_connection,
        open=False,
        kwargs=_parameters(name, hot=hot),
    )
    async with pool:
        yield pool


class Line:
    """One connection, for one at a time, that is opened anew at once where it was lost.

    A pool waits a second or two after an attempt that failed: too long for whoever is to find out whether the database
    is back.
    """

    def __init__(self, database_url: str, name: str) -> None:
        """Open nothing yet."""
        self._database_url = database_url
        self._name = name
        self._connection: Connection | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend the connection. Raises psycopg.OperationalError where there is none to be had."""
        try:
            yield await self._standing()
        except BaseException:
            await self.close()
            raise

    async def _standing(self) -> Connection:
        if self._connection is not None:
            try:
                await AsyncConnectionPool.check_connection(self._connection)
            except psycopg.OperationalError:
                await self.close()
        if self._connection is None:
            parameters = _parameters(self._name, hot=False)
            connection: Connection = await AsyncConnection.connect(self._database_url, **parameters)
            self._connection = connection
            await _configure(connection, hot=False)
        return self._connection

    async def close(self) -> None:
        """Close it. It is opened anew when it is wanted."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _configure(connection: Connection, *, hot: bool) -> None:
    settings = _options(HOT_STATEMENT_TIMEOUT_S, **HOT_PATH) if hot else _options(REPORT_STATEMENT_TIMEOUT_S)
    await connection.execute(settings)
    await connection.execute(DURABLE)


def _parameters(name: str, *, hot: bool) -> dict[str, Any]:
    return {
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": f"gatekeeper-{name}",
        # The hot path prepares its own statements, which psycopg would deallocate together with its own.
        "prepare_threshold": None if hot else 5,
        # A dead peer is noticed within seconds, not after the kernel's two hours, nor, where something is on its
        # way, after a quarter of one.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": PEER_TIMEOUT_MS,
    }


def first(row: TupleRow | None) -> Any:
    """Return the only value of a row that is sure to be there."""
    assert row is not None
    return row[0]
