"""What is the server measured against?

(a) `empty`: an RPC without content on the same gRPC stack: what no server in Python can beat.
(b) `row-lock`: one `SELECT … FOR UPDATE` transaction for each call (`row_lock.py`): what one would write at first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any, Final

import grpc
import uvloop
from google.protobuf.empty_pb2 import Empty

from benchmarks.row_lock import SCHEMA, RowLockLedger, row_lock_handler, row_lock_pool
from gatekeeper.rpc.server import channel_options
from gatekeeper.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POOL_SIZE: Final = 8  # 4 to 8 are equally fast here, 16 is slower: more connections only wait for the lock


async def empty(request: Empty, context: grpc.aio.ServicerContext[Any, Any]) -> Empty:  # noqa: ARG001
    """Answer nothing."""
    return Empty()


@contextlib.asynccontextmanager
async def empty_calls() -> AsyncIterator[grpc.GenericRpcHandler]:
    """Serve the empty call."""
    handler = grpc.unary_unary_rpc_method_handler(
        empty, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
    )
    yield grpc.method_handlers_generic_handler("benchmarks.Baseline", {"Empty": handler})


@contextlib.asynccontextmanager
async def row_lock_calls(
    database_url: str, pool_size: int, *, pipelined: bool
) -> AsyncIterator[grpc.GenericRpcHandler]:
    """Serve the ledger with a transaction per call, on tables of its own."""
    async with row_lock_pool(database_url, pool_size) as pool:
        async with pool.connection() as connection:
            await connection.execute(SCHEMA, prepare=False)
        yield row_lock_handler(RowLockLedger(pool, pipelined=pipelined))


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings = load_settings()
    server = grpc.aio.server(options=channel_options(settings.message_bytes_max, settings.concurrent_streams_max))
    server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    if arguments.name == "empty":
        calls = empty_calls()
    else:
        calls = row_lock_calls(arguments.database_url, arguments.pool_size, pipelined=not arguments.plain)
    async with calls as handler:
        server.add_generic_rpc_handlers((handler,))
        await server.start()
        await stop.wait()
        await server.stop(grace=1)


def main() -> None:
    """Serve one of the baselines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["empty", "row-lock"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", default="")
    parser.add_argument("--pool-size", type=int, default=POOL_SIZE)
    parser.add_argument("--plain", action="store_true", help="without pipeline mode")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
