"""What does the ledger cost when each call is a transaction of its own?

Baseline (b): the same messages and the same promises for the calls that the benchmark makes, written the usual way:
take a connection from the pool, lock the budget rows, decide, write, commit; statements are prepared at first use, and
one statement changes both budgets. In pipeline mode, which was measured to be the fastest form, that is two round
trips; without it, five.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
from psycopg_pool import AsyncConnectionPool

from benchmarks.row_lock_answers import Held, LockedBudget, admitted, committed, decimal, denied
from gatekeeper_client.v1 import gatekeeper_service_pb2, reservation_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.message import Message
    from psycopg import AsyncConnection

Context = grpc.aio.ServicerContext[Any, Any]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS row_lock_budget (
    organization text NOT NULL, kind smallint NOT NULL, id text NOT NULL, period text NOT NULL,
    cap numeric(28, 9) NOT NULL, spent numeric(28, 9) NOT NULL DEFAULT 0, reserved numeric(28, 9) NOT NULL DEFAULT 0,
    PRIMARY KEY (organization, kind, id, period),
    CHECK (spent + reserved <= cap)
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS row_lock_reservation (
    organization text NOT NULL, reservation_id text NOT NULL, campaign text NOT NULL, agent text NOT NULL,
    agent_type text NOT NULL, run text NOT NULL, amount numeric(28, 9) NOT NULL, state smallint NOT NULL,
    create_time timestamptz NOT NULL, expire_time timestamptz NOT NULL, end_time timestamptz, period text NOT NULL,
    PRIMARY KEY (organization, reservation_id)
) WITH (fillfactor = 70);
CREATE TABLE IF NOT EXISTS row_lock_execution (
    organization text NOT NULL, reservation_id text NOT NULL, campaign text NOT NULL, agent text NOT NULL,
    run text NOT NULL, cost numeric(28, 9) NOT NULL, outcome smallint NOT NULL, commit_time timestamptz NOT NULL,
    period text NOT NULL,
    PRIMARY KEY (organization, reservation_id)
);
"""

# Locks the campaign's row first and the organization's last, by their primary key.
LOCK_BUDGETS: Final = """
SELECT kind, id, period, cap, spent, reserved, now() FROM row_lock_budget
WHERE organization = %s AND (kind = 1 AND id = '' OR kind = 3 AND id = %s) AND period = to_char(now(), 'YYYY-MM')
ORDER BY kind DESC FOR UPDATE
"""
# The same for the budgets that a reservation holds money of.
LOCK_BUDGETS_OF_RESERVATION: Final = """
SELECT b.kind, b.id, b.period, b.cap, b.spent, b.reserved, now()
FROM row_lock_reservation AS r JOIN row_lock_budget AS b ON b.organization = r.organization AND b.period = r.period
    AND (b.kind = 1 AND b.id = '' OR b.kind = 3 AND b.id = r.campaign)
WHERE r.organization = %s AND r.reservation_id = %s
ORDER BY b.kind DESC FOR UPDATE OF b
"""
LOCK_RESERVATION: Final = """
SELECT campaign, agent, agent_type, run, amount, state, create_time, expire_time FROM row_lock_reservation
WHERE organization = %s AND reservation_id = %s FOR UPDATE
"""
CHARGE: Final = """
UPDATE row_lock_budget SET spent = spent + %s, reserved = reserved + %s
WHERE organization = %s AND (kind = 1 AND id = '' OR kind = 3 AND id = %s) AND period = %s
"""
HOLD: Final = "INSERT INTO row_lock_reservation VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, NULL, %s)"
END: Final = "UPDATE row_lock_reservation SET state = 2, end_time = %s WHERE organization = %s AND reservation_id = %s"
RECORD: Final = "INSERT INTO row_lock_execution VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
CAP: Final = """
INSERT INTO row_lock_budget (organization, kind, id, period, cap) VALUES (%s, %s, %s, to_char(now(), 'YYYY-MM'), %s)
ON CONFLICT (organization, kind, id, period) DO UPDATE SET cap = excluded.cap
"""


class RowLockLedger:
    """Reserve and Commit with one `SELECT … FOR UPDATE` transaction for each call; SetCap to begin with."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]], *, pipelined: bool) -> None:
        """Take connections from `pool`, which is open."""
        self._pool = pool
        self._pipelined = pipelined

    async def reserve(
        self, request: gatekeeper_service_pb2.ReserveRequest, context: Context
    ) -> gatekeeper_service_pb2.ReserveResponse:
        """Hold the amount in both budgets, or in none."""
        del context
        amount = decimal(request.amount)
        async with self._transaction() as connection:
            locked = await connection.execute(LOCK_BUDGETS, (request.organization, request.campaign))
            budgets, now = _budgets(await locked.fetchall())
            for budget in budgets:
                if budget.lacks(amount) > 0:
                    return denied(budgets, budget, amount)
            held = Held(
                campaign=request.campaign,
                agent=request.agent,
                agent_type=request.agent_type,
                run=request.run,
                amount=amount,
                state=reservation_pb2.RESERVATION_STATE_HELD,
                create_time=now,
                expire_time=now + timedelta(seconds=request.ttl.seconds),
            )
            period = budgets[0].period
            await connection.execute(CHARGE, (0, amount, request.organization, request.campaign, period))
            await connection.execute(HOLD, (request.organization, request.reservation_id, *held, period))
        return admitted(request, held, budgets)

    async def commit(
        self, request: gatekeeper_service_pb2.CommitRequest, context: Context
    ) -> gatekeeper_service_pb2.CommitResponse:
        """Record the cost and end the hold; only for reservations that are held."""
        del context
        cost = decimal(request.amount)
        key = (request.organization, request.reservation_id)
        async with self._transaction() as connection:
            found = await connection.execute(LOCK_RESERVATION, key)
            locked = await connection.execute(LOCK_BUDGETS_OF_RESERVATION, key)
            held = _held(await found.fetchone())
            budgets, now = _budgets(await locked.fetchall())
            period = budgets[0].period
            await connection.execute(END, (now, *key))
            execution = (*key, held.campaign, held.agent, held.run, cost, request.outcome, now, period)
            await connection.execute(RECORD, execution)
            await connection.execute(CHARGE, (cost, -held.amount, request.organization, held.campaign, period))
        return committed(request, held, budgets, now)

    async def set_cap(
        self, request: gatekeeper_service_pb2.SetCapRequest, context: Context
    ) -> gatekeeper_service_pb2.SetCapResponse:
        """Open the budget of this month."""
        del context
        scope = request.scope
        async with self._pool.connection() as connection:
            await connection.execute(CAP, (request.organization, scope.kind, scope.id, decimal(request.cap)))
        return gatekeeper_service_pb2.SetCapResponse()

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Yield a connection in a transaction; BEGIN and COMMIT travel with what is sent after and before them."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self._pool.connection())
            if self._pipelined:
                await stack.enter_async_context(connection.pipeline())
            await connection.execute("BEGIN")
            yield connection
            await connection.execute("COMMIT")


def row_lock_pool(database_url: str, size: int) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """Return the pool, not open yet; its connections prepare each statement at first use."""
    options = {"autocommit": True, "prepare_threshold": 0}
    return AsyncConnectionPool(database_url, min_size=size, max_size=size, open=False, kwargs=options)


def row_lock_handler(ledger: RowLockLedger) -> grpc.GenericRpcHandler:
    """Return the ledger as a gRPC service, under the server's own name."""
    messages = gatekeeper_service_pb2
    handlers = {
        "Reserve": _handler(ledger.reserve, messages.ReserveRequest),
        "Commit": _handler(ledger.commit, messages.CommitRequest),
        "SetCap": _handler(ledger.set_cap, messages.SetCapRequest),
    }
    return grpc.method_handlers_generic_handler("gatekeeper.v1.GatekeeperService", handlers)


def _handler(method: Callable[..., Awaitable[Message]], request: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda answer: answer.SerializeToString()
    )


def _budgets(rows: Sequence[Sequence[Any]]) -> tuple[list[LockedBudget], datetime]:
    """Return the locked budgets and the database's time."""
    budgets = [
        LockedBudget(kind=kind, id=scope_id, period=period, cap=cap, spent=spent, reserved=reserved)
        for kind, scope_id, period, cap, spent, reserved, _ in rows
    ]
    return budgets, rows[0][-1]


def _held(row: Sequence[Any] | None) -> Held:
    if row is None or row[5] != reservation_pb2.RESERVATION_STATE_HELD:
        message = "no such hold"
        raise LookupError(message)
    return Held(*row)
