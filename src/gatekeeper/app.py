"""What does a running server consist of? Everything is started here in order, and stopped in reverse."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from gatekeeper.rpc.gatekeeper import GatekeeperServicer
from gatekeeper.rpc.health import Health
from gatekeeper.rpc.reports import ReportServicer
from gatekeeper.rpc.server import SERVICES, build_server, listen
from gatekeeper.services import setup, upkeep
from gatekeeper.services.batch import Rules
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.gate import Gate, GateLimits
from gatekeeper.services.prices import Prices
from gatekeeper.services.reports import Reports
from gatekeeper.settings import Settings
from gatekeeper.storage import schema
from gatekeeper.storage.connections import Pool, open_pool, wrap_errors

# Objects made between two looks for garbage: a batch makes some thousands, which reference counting frees.
GARBAGE_THRESHOLD = 20_000

log = structlog.get_logger(__name__)

# Connections of what the server does by itself: one to sweep, one to probe.
UPKEEP_POOL = 2
# How long a sweep or a probe may take to end when the server stops.
STOP_PATIENCE_S = 1
# How long calls are refused before gRPC stops: it would turn them away as CANCELLED, which says nothing and which no
# client repeats by itself.
REFUSING_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that serves: where it listens, and on which database."""

    addresses: Sequence[str]
    embedded: bool


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[Running], None]) -> None:
    """Serve until `stop` is set; call `ready` once every address answers.

    Raises `SchemaError`, `DatabaseUnavailable`, `EmbeddedError` or `ListenError` where it cannot.
    """
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(open_database(settings))
        hot = await stack.enter_async_context(
            open_pool(database_url, name="gate", size_max=settings.pool_max, hot=True)
        )
        reads = await stack.enter_async_context(
            open_pool(database_url, name="reads", size_max=settings.report_pool_max, hot=False)
        )
        # Sweeps and probes have connections of their own: reports that take long must not look like a database away.
        own = await stack.enter_async_context(open_pool(database_url, name="upkeep", size_max=UPKEEP_POOL, hot=False))
        prices = Prices()
        await _require(own, prices)
        gate = _gate(settings, hot, prices)
        health = Health(SERVICES)
        addresses = await stack.enter_async_context(_listening(settings, gate, hot, reads, health))
        probe = partial(upkeep.probe, gate, own, prices, served=(hot, reads))
        await stack.enter_async_context(_upkeep(settings, gate, own, probe, health))
        # What was made so far stays; looking through it again and again for garbage costs two per cent of every call.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        ready(Running(addresses=addresses, embedded=settings.database_url is None))
        await stop.wait()
        log.info("server.draining")
        await health.withdraw()
        await asyncio.sleep(settings.drain_delay_s)
        health.draining = True
        await asyncio.sleep(REFUSING_S)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the database: the given one, or the embedded one, which is started and made ready."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from gatekeeper.embedded import EmbeddedPostgres, EmbeddedSettings, default_data_dir

    embedded = EmbeddedPostgres(
        EmbeddedSettings(data_dir=settings.data_dir or default_data_dir(), pg_bin=settings.pg_bin)
    )
    await asyncio.to_thread(embedded.start)
    try:
        if not await setup.is_ready(embedded.dsn):
            await setup.prepare(embedded.dsn)
        yield embedded.dsn
    finally:
        await asyncio.to_thread(embedded.stop)


async def _require(pool: Pool, prices: Prices) -> None:
    """Refuse a database with a schema that this version does not know; read the price book."""
    with wrap_errors():
        async with pool.connection() as connection:
            await schema.require_current(connection)
            await prices.refresh(connection)


def _gate(settings: Settings, hot: Pool, prices: Prices) -> Gate:
    rules = Rules(
        owner=settings.instance,
        monthly_budget=settings.monthly_budget,
        auto_provision=settings.auto_provision,
        prices=prices,
    )
    limits = GateLimits(
        batch_max=settings.batch_max,
        queue_max=settings.queue_max,
        queue_total_max=settings.queue_total_max,
        batch_timeout_s=settings.batch_timeout_s,
        stalled_after_s=settings.stalled_after_s,
    )
    return Gate(hot, rules, limits)


@asynccontextmanager
async def _listening(
    settings: Settings, gate: Gate, hot: Pool, reads: Pool, health: Health
) -> AsyncIterator[Sequence[str]]:
    """Answer calls; at the end let those under way finish."""
    budgets = Budgets(
        reads=reads, writes=hot, monthly_budget=settings.monthly_budget, auto_provision=settings.auto_provision
    )
    server = build_server(
        GatekeeperServicer(gate, budgets),
        ReportServicer(Reports(reads), budgets),
        health,
        health,
        message_bytes_max=settings.message_bytes_max,
        concurrent_streams_max=settings.concurrent_streams_max,
    )
    addresses = [listen(server, address) for address in settings.listen]
    await server.start()
    try:
        yield addresses
    finally:
        await server.stop(settings.drain_timeout_s)
        await gate.drain()


@asynccontextmanager
async def _upkeep(
    settings: Settings, gate: Gate, own: Pool, probe: Callable[[], Awaitable[dict[str, bool]]], health: Health
) -> AsyncIterator[None]:
    """Keep sweeping and probing while the server runs."""
    await health.report(await probe())
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(upkeep.sweep_forever(gate, own, settings.sweep_interval_s)),
            group.create_task(
                upkeep.probe_forever(
                    gate,
                    probe,
                    health.report,
                    interval_s=settings.probe_interval_s,
                    timeout_s=settings.stalled_after_s,
                )
            ),
        ]
        try:
            yield
        finally:
            await _cancel(tasks)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks; again where one waits for a database that hangs to stop its statement."""
    for patience_s in (STOP_PATIENCE_S, None):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=patience_s)
