"""Does a server stumble over what somebody sends on purpose? Hostile messages to every RPC, thousands at a time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from random import Random
from typing import Any

import grpc
import psutil
import pytest

from tests.conftest import ServerFactory
from tests.contract.requests import valid
from tests.contract.secured import Secured
from tests.contract.wire import STREAMING, Wire, until

from .hostility import Attempt, attempts, prepare

CHANNELS, IN_FLIGHT = 4, 64
# A call takes some milliseconds, tens of them with all others in flight.
DEADLINE_S = 20
# How big the server is goes up and down by some MB with what is collected when; what it keeps stays.
PARTS, WARM_PARTS, LAST_PARTS = 10, 2, 3
GROWTH_BYTES_MAX = 6_000_000
SHOWN = 5
# When tokens were last used, and channels last seen, is written whether or not calls come to anything.
TABLES = """
    SELECT tablename FROM pg_tables
    WHERE schemaname = 'public' AND tablename NOT IN ('token_uses', 'alert_channels') ORDER BY 1
"""
# What the server still writes by itself about what was done before: links of the audit trail, and alerts on their way.
UNDER_WAY = """
    SELECT (SELECT count(*) FROM audit_events) + (SELECT count(*) FROM denials) - (SELECT count(*) FROM audit_chain)
         + (SELECT count(*) FROM alerts WHERE dispatched_at IS NULL)
         + (SELECT count(*) FROM alert_deliveries WHERE state = 'PENDING')
"""


@pytest.mark.parametrize(
    "count", [3_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])], ids=str
)
def test_hostile_messages(start_server: ServerFactory, database_url: str, seed: int, count: int) -> None:
    """Each gets a clear answer in time; none changes a row, and the server keeps nothing of them."""
    server = start_server(database_url=database_url, GATEKEEPER_INSECURE="0", GATEKEEPER_CALLS_PER_S_MAX="1000000")
    with closing(Wire(server.address, database_url)) as wire:
        secured = Secured(wire)
        tokens = prepare(secured)
        until(lambda: wire.sql(UNDER_WAY) == [(0,)])
        before = rows(wire)
        process = psutil.Process(server.process.pid)
        sent = Hostile(server.address, attempts(tokens, Random(seed)))
        began_s = time.monotonic()
        sizes = asyncio.run(sent.send(count, lambda: int(process.memory_info().rss)))
        story = (
            f"seed {seed}: {count:,} calls, {count / (time.monotonic() - began_s):,.0f}/s, {told(sent.statuses, sizes)}"
        )
        sys.stdout.write(f"\n{story}\n")
        assert not sent.unclear, "\n".join([story, *sent.unclear[:SHOWN]])
        assert rows(wire) == before, story
        assert min(sizes[-LAST_PARTS:]) - sizes[WARM_PARTS - 1] < GROWTH_BYTES_MAX, story
        assert secured.call("GetStatus", valid("GetStatus"), secured.operator)


class Hostile:
    """Somebody with several connections and many calls at a time on each."""

    def __init__(self, address: str, calls: Iterator[Attempt]) -> None:
        """Send these calls to this server."""
        self.statuses: Counter[str] = Counter()
        self.unclear: list[str] = []
        self._address = address
        self._calls = enumerate(calls)

    async def send(self, count: int, size: Any) -> list[int]:
        """Send so many calls; return the server's size after each part of them, when all are answered."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        channels = [grpc.aio.insecure_channel(self._address, options=options) for _ in range(CHANNELS)]
        sizes = []
        for _ in range(PARTS):
            part = islice(self._calls, count // PARTS)
            await asyncio.gather(*(self._work(channel, part) for channel in channels * (IN_FLIGHT // CHANNELS)))
            sizes.append(size())
        for channel in channels:
            await channel.close()
        return sizes

    async def _work(self, channel: grpc.aio.Channel, calls: Iterator[tuple[int, Attempt]]) -> None:
        for number, attempt in calls:
            # A client of streams can call any RPC; one without an end is left as soon as it answers.
            method: Any = channel.unary_stream(attempt.path)
            call = method(
                attempt.request,
                timeout=DEADLINE_S,
                metadata=attempt.metadata,
                compression=attempt.compression,
            )
            status = await _status_of(call, is_endless=attempt.path in STREAMING)
            self.statuses[status.name] += 1
            if status not in attempt.answers:
                self.unclear.append(f"{number}: {status.name} {await call.details()!r} to {attempt}")


async def _status_of(call: Any, *, is_endless: bool) -> grpc.StatusCode:
    with suppress(grpc.aio.AioRpcError):
        message = await call.read()
        if is_endless and message is not grpc.aio.EOF:
            call.cancel()
            return grpc.StatusCode.OK
    code: grpc.StatusCode = await call.code()
    return code


def rows(wire: Wire) -> dict[str, Any]:
    """Return what stands for all rows of each table."""
    return {
        table: wire.sql(f"SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} t")
        for (table,) in wire.sql(TABLES)
    }


def told(statuses: Counter[str], sizes: list[int]) -> str:
    answers = ", ".join(f"{name} {count:,}" for name, count in statuses.most_common())
    return f"{answers}; RSS in MB: {' '.join(f'{size / 1e6:.1f}' for size in sizes)}"
