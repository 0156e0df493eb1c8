"""What does a running server consist of? Everything is started here in order, and stopped in reverse."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gatekeeper.database import audit_key_file, open_database, token_file
from gatekeeper.domain.access import Actor, Caller, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import DatabaseUnavailable
from gatekeeper.domain.open_holds import HoldLimits
from gatekeeper.rpc.admin import AdminServicer
from gatekeeper.rpc.authentication import Authentication
from gatekeeper.rpc.boundary import Boundary
from gatekeeper.rpc.call_rates import CallRates
from gatekeeper.rpc.gatekeeper import GatekeeperServicer
from gatekeeper.rpc.health import Health
from gatekeeper.rpc.listen import listening, transport_of
from gatekeeper.rpc.peers import Peers
from gatekeeper.rpc.reports import ReportServicer
from gatekeeper.rpc.request_limits import RequestLimits
from gatekeeper.rpc.server import SERVICES, build_server
from gatekeeper.rpc.validation import Validator
from gatekeeper.services import audit_keys, setup, tokens, upkeep
from gatekeeper.services.audit_chain import chain_forever
from gatekeeper.services.audit_trail import AuditTrail
from gatekeeper.services.batch import Rules
from gatekeeper.services.blocked_log import BlockedLog
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.callers import Callers
from gatekeeper.services.gate import Gate, GateLimits
from gatekeeper.services.prices import Prices
from gatekeeper.services.reports import Reports
from gatekeeper.settings import Settings
from gatekeeper.storage.connections import Pool, open_pool, wrap_errors

# Objects made between two looks for garbage: a batch makes some thousands, which reference counting frees.
GARBAGE_THRESHOLD = 20_000

log = structlog.get_logger(__name__)

# Connections of what the server does by itself: one each to sweep, to probe, to know its callers, and to chain.
UPKEEP_POOL = 4
# How often it is looked whether callers were added or revoked, and how often their last use is written down.
CALLERS_INTERVAL_S = 1
USES_INTERVAL_S = 5
# How long what the server does by itself may take to end when it stops.
STOP_PATIENCE_S = 1
# How long calls are refused before gRPC stops: it would turn them away as CANCELLED, which says nothing and which no
# client repeats by itself.
REFUSING_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that serves: where it listens, on which database, and whether it asks for tokens.

    `token_file` holds an operator's token, where there is such a file.
    """

    addresses: Sequence[str]
    embedded: bool
    secured: bool
    token_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What calls are answered by. Without `callers`, nobody is asked for a token."""

    gate: Gate
    hot: Pool
    reads: Pool
    own: Pool
    prices: Prices
    health: Health
    callers: Callers | None
    audit_key: AuditKey


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[Running], None]) -> None:
    """Serve until `stop` is set; call `ready` once every address answers.

    Raises `SchemaError`, `DatabaseUnavailable`, `EmbeddedError` or `ListenError` where it cannot.
    """
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(open_database(settings))
        parts = await _open_parts(settings, database_url, stack)
        operators = await _first_operator(settings, parts)
        if parts.callers is not None:
            await parts.callers.refresh()
        addresses = await stack.enter_async_context(_listening(settings, parts))
        await stack.enter_async_context(_upkeep(settings, parts))
        # What was made so far stays; looking through it again and again for garbage costs two per cent of every call.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        embedded, secured = settings.database_url is None, parts.callers is not None
        ready(Running(addresses=addresses, embedded=embedded, secured=secured, token_file=operators))
        await stop.wait()
        log.info("server.draining")
        await parts.health.withdraw()
        await asyncio.sleep(settings.drain_delay_s)
        parts.health.draining = True
        await asyncio.sleep(REFUSING_S)


async def _open_parts(settings: Settings, database_url: str, stack: AsyncExitStack) -> Parts:
    pools = [
        await stack.enter_async_context(open_pool(database_url, name=name, size_max=size_max, hot=hot))
        for name, size_max, hot in (
            ("gate", settings.pool_max, True),
            ("reads", settings.report_pool_max, False),
            # Upkeep has connections of its own: reports that take long must not look like a database away.
            ("upkeep", UPKEEP_POOL, False),
        )
    ]
    hot, reads, own = pools
    prices = Prices()
    await _require(own, prices)
    audit_key = audit_keys.load(audit_key_file(settings), create=True)
    return Parts(
        gate=_gate(settings, hot, prices, audit_key),
        hot=hot,
        reads=reads,
        own=own,
        prices=prices,
        health=Health(SERVICES),
        callers=None if settings.insecure else Callers(own),
        audit_key=audit_key,
    )


async def _require(pool: Pool, prices: Prices) -> None:
    """Refuse a database with a schema that this version does not know; read the price book."""
    with wrap_errors():
        async with pool.connection() as connection:
            await setup.require_usable(connection)
            await prices.refresh(connection)
            if excess := await setup.role_excess(connection):
                log.warning("database.role_excessive", role_may=excess)


async def _first_operator(settings: Settings, parts: Parts) -> Path | None:
    """Make the first operator token on the embedded database; return the file that holds it, if there is one."""
    if settings.insecure:
        return None
    path = token_file(settings)
    if settings.database_url is None:
        actor = Actor(Caller(caller_id="", name="gatekeeper serve", role=Role.OPERATOR), "")
        await tokens.ensure_operator(parts.own, path, actor, parts.audit_key)
    return path if path.exists() else None


def _gate(settings: Settings, hot: Pool, prices: Prices, audit_key: AuditKey) -> Gate:
    rules = Rules(
        owner=settings.instance,
        monthly_budget=settings.monthly_budget,
        auto_provision=settings.auto_provision,
        prices=prices,
        holds=HoldLimits(
            open_max=settings.open_holds_max,
            open_per_caller_max=settings.open_holds_per_caller_max,
            share_percent_max=settings.hold_share_percent_max,
            life_max=timedelta(seconds=settings.hold_life_max_s),
        ),
        audit_key=audit_key,
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
async def _listening(settings: Settings, parts: Parts) -> AsyncIterator[Sequence[str]]:
    """Answer calls; at the end let those under way finish."""
    budgets = Budgets(
        reads=parts.reads,
        writes=parts.hot,
        monthly_budget=settings.monthly_budget,
        auto_provision=settings.auto_provision,
        audit_key=parts.audit_key,
    )
    peers = Peers()
    server = build_server(
        GatekeeperServicer(parts.gate, budgets, ttl_max=timedelta(seconds=settings.hold_ttl_max_s)),
        ReportServicer(Reports(parts.reads), budgets, AuditTrail(parts.reads)),
        AdminServicer(reads=parts.reads, writes=parts.hot, audit_key=parts.audit_key),
        parts.health,
        _boundary(settings, parts, peers),
        message_bytes_max=settings.message_bytes_max,
        concurrent_streams_max=settings.concurrent_streams_max,
        connections_max=settings.connections_max,
        ping_interval_min_s=settings.ping_interval_min_s,
        connection_idle_max_s=settings.connection_idle_max_s,
        connection_age_max_s=settings.connection_age_max_s,
    )
    async with listening(server, settings.listen, transport_of(settings), peers) as addresses:
        await server.start()
        try:
            yield addresses
        finally:
            await server.stop(settings.drain_timeout_s)
            await parts.gate.drain()


def _boundary(settings: Settings, parts: Parts, peers: Peers) -> Boundary:
    return Boundary(
        admission=parts.health,
        authentication=Authentication(parts.callers, peers.identities),
        rates=None if settings.insecure else CallRates(settings.calls_per_s_max),
        limits=RequestLimits(
            text_length_max=settings.text_length_max,
            labels_max=settings.labels_max,
            ttl_max_s=settings.hold_ttl_max_s,
        ),
        validator=Validator(),
    )


@asynccontextmanager
async def _upkeep(settings: Settings, parts: Parts) -> AsyncIterator[None]:
    """Keep doing what the server does by itself while it runs."""
    probe = partial(upkeep.probe, parts.gate, parts.own, parts.prices, served=(parts.hot, parts.reads))
    await parts.health.report(await probe())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in _works(settings, parts, probe)]
        try:
            yield
        finally:
            await _cancel(tasks)
            if parts.callers is not None:
                with suppress(DatabaseUnavailable):
                    await parts.callers.write_uses()


def _works(
    settings: Settings, parts: Parts, probe: Callable[[], Awaitable[dict[str, bool]]]
) -> list[Coroutine[Any, Any, None]]:
    """Return what the server does by itself, each without an end."""
    works = [
        upkeep.sweep_forever(parts.gate, parts.own, settings.sweep_interval_s),
        upkeep.probe_forever(
            parts.gate,
            probe,
            parts.health.report,
            interval_s=settings.probe_interval_s,
            timeout_s=settings.stalled_after_s,
        ),
        chain_forever(parts.own, parts.audit_key, BlockedLog(settings.logs_dir).write, settings.audit_interval_s),
    ]
    if parts.callers is not None:
        works += [
            upkeep.keep_doing("callers.refresh_failed", parts.callers.refresh, CALLERS_INTERVAL_S),
            upkeep.keep_doing("callers.uses_failed", parts.callers.write_uses, USES_INTERVAL_S),
        ]
    return works


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks; again where one waits for a database that hangs to stop its statement."""
    for patience_s in (STOP_PATIENCE_S, None):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=patience_s)
