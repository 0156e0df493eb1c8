"""What does a running server consist of? Everything is started here in order, and stopped in reverse."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gatekeeper.database import open_database
from gatekeeper.domain.commands import TTL_DEFAULT
from gatekeeper.domain.errors import DatabaseUnavailable
from gatekeeper.observation import observed
from gatekeeper.parts import Parts, first_operator, open_parts
from gatekeeper.rpc.admin import AdminServicer
from gatekeeper.rpc.authentication import Authentication
from gatekeeper.rpc.boundary import Boundary
from gatekeeper.rpc.call_rates import CallRates
from gatekeeper.rpc.gatekeeper import GatekeeperServicer
from gatekeeper.rpc.invoice_exports import InvoiceExports
from gatekeeper.rpc.line_writer import LineWriter
from gatekeeper.rpc.listen import listening, transport_of
from gatekeeper.rpc.peers import Peers
from gatekeeper.rpc.reports import ReportServicer
from gatekeeper.rpc.request_limits import RequestLimits
from gatekeeper.rpc.server import build_server
from gatekeeper.rpc.shares import Shares
from gatekeeper.rpc.validation import Validator
from gatekeeper.rpc.witness import Witnesses
from gatekeeper.services import upkeep
from gatekeeper.services.alert_delivery import AlertDelivery, DeliveryLimits
from gatekeeper.services.alerts import Alerts
from gatekeeper.services.audit_chain import chain_forever
from gatekeeper.services.audit_trail import AuditTrail
from gatekeeper.services.cost_splits import CostSplits
from gatekeeper.services.execution_logs import ExecutionLogs
from gatekeeper.services.monthly_report import MonthlyReports
from gatekeeper.services.repetition import Failures
from gatekeeper.services.reports import Reports
from gatekeeper.services.rollups import roll_up_forever
from gatekeeper.services.spend import Spending
from gatekeeper.services.statements import Statements
from gatekeeper.services.watch import INTERVAL_S as TELL_INTERVAL_S
from gatekeeper.settings import Settings
from gatekeeper.vigilance import vigils

# Objects made between two looks for garbage: a batch makes some thousands, which reference counting frees.
GARBAGE_THRESHOLD = 20_000
# How long another thread may keep the interpreter while the event loop wants it: one that writes the log or renders
# metrics. Python's own 5 ms are a quarter of what a call takes under load, and come several times over.
SWITCH_INTERVAL_S = 0.0005

log = structlog.get_logger(__name__)

# How often it is looked whether callers were added or revoked, and how often their last use is written down.
CALLERS_INTERVAL_S = 1
USES_INTERVAL_S = 5
# How long after a connection that changes are heard by has ended another one is opened.
LISTEN_INTERVAL_S = 1
# How long what the server does by itself may take to end when it stops.
STOP_PATIENCE_S = 1
# How long calls are refused before gRPC stops: it would turn them away as CANCELLED, which says nothing and which no
# client repeats by itself.
REFUSING_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that serves: where it listens, on which database, and whether it asks for tokens.

    `token_file` holds an operator's token, where there is such a file; `http_address` is where HTTP is, if it is.
    """

    addresses: Sequence[str]
    embedded: bool
    secured: bool
    token_file: Path | None
    http_address: str | None = None


async def serve(
    settings: Settings, stop: asyncio.Event, ready: Callable[[Running], None], lines: LineWriter | None = None
) -> None:
    """Serve until `stop` is set; call `ready` once every address answers. Calls are logged to `lines`, if given.

    Raises `SchemaError`, `DatabaseUnavailable`, `EmbeddedError`, `ListenError` or `OtelMissing` where it cannot.
    """
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(open_database(settings))
        parts = await open_parts(settings, database_url, stack)
        operators = await first_operator(settings, parts)
        if parts.callers is not None:
            await parts.callers.refresh()
        if parts.start_override is not None:
            # What fails is tried again by upkeep.
            with suppress(DatabaseUnavailable):
                await parts.start_override.ensure()
        observation = await stack.enter_async_context(observed(settings, parts, lines))
        addresses = await stack.enter_async_context(_listening(settings, parts, observation.witnesses))
        await stack.enter_async_context(_upkeep(settings, parts))
        # What was made so far stays; looking through it again and again for garbage costs two per cent of every call.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        embedded, secured = settings.database_url is None, parts.callers is not None
        if lines is not None:
            # What is to be said of how it was started is said before it is started.
            await lines.caught_up()
        ready(
            Running(
                addresses=addresses,
                http_address=observation.http_address,
                embedded=embedded,
                secured=secured,
                token_file=operators,
            )
        )
        await stop.wait()
        log.info("server.draining")
        await parts.health.withdraw()
        await asyncio.sleep(settings.drain_delay_s)
        parts.health.draining = True
        await asyncio.sleep(REFUSING_S)


@asynccontextmanager
async def _listening(settings: Settings, parts: Parts, witnesses: Witnesses) -> AsyncIterator[Sequence[str]]:
    """Answer calls; at the end let those under way finish."""
    peers = Peers()
    server = build_server(
        GatekeeperServicer(
            parts.gate,
            parts.budgets,
            parts.grants,
            InvoiceExports(parts.invoices, parts.invoice_files),
            ttl_default=_ttl_default(settings),
        ),
        ReportServicer(
            reports=Reports(parts.reads),
            budgets=parts.budgets,
            trail=AuditTrail(parts.reads),
            alerts=Alerts(parts.reads),
            grants=parts.grants,
            watches=parts.watches,
            spending=Spending(parts.reads),
            statements=Statements(parts.reads),
            splits=CostSplits(parts.reads),
            monthly=MonthlyReports(parts.reads),
            invoices=parts.invoices,
        ),
        AdminServicer(reads=parts.reads, writes=parts.changes, audit_key=parts.audit_key, invoices=parts.invoices),
        parts.health,
        _boundary(settings, parts, peers, witnesses),
        streams=parts.streams,
        exports=parts.exports,
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
            await parts.health.end_streams()
            parts.streams.end()
            parts.exports.end()
            await server.stop(settings.drain_timeout_s)
            await parts.gate.drain()


def _ttl_default(settings: Settings) -> timedelta:
    """Return how long a hold stands that does not say: as long as the limits allow."""
    return min(TTL_DEFAULT, *(timedelta(seconds=most) for most in (settings.hold_ttl_max_s, settings.hold_life_max_s)))


def _boundary(settings: Settings, parts: Parts, peers: Peers, witnesses: Witnesses) -> Boundary:
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
        shares=Shares(),
        witnesses=witnesses,
    )


@asynccontextmanager
async def _upkeep(settings: Settings, parts: Parts) -> AsyncIterator[None]:
    """Keep doing what the server does by itself while it runs."""
    away = Failures("database.away", "database.back")
    probe = probing(parts, away)
    await parts.health.report(await probe())
    delivery = AlertDelivery(parts.own, parts.channels, _delivery_limits(settings))
    # Before anything is answered that there could be an alert of.
    with suppress(DatabaseUnavailable):
        await delivery.keep()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in (*delivery.works(), *_works(settings, parts, probe, away))]
        try:
            yield
        finally:
            await _cancel(tasks)
            if parts.callers is not None:
                with suppress(DatabaseUnavailable):
                    await parts.callers.write_uses()


def probing(parts: Parts, away: Failures) -> Callable[[], Awaitable[dict[str, bool]]]:
    """Return what probes the database once, and says what of it is well."""
    served = (parts.hot, parts.changes, parts.reads)
    return partial(upkeep.probe, parts.gate, parts.probe, parts.prices, served=served, away=away)


def _works(
    settings: Settings, parts: Parts, probe: Callable[[], Awaitable[dict[str, bool]]], away: Failures
) -> list[Coroutine[Any, Any, None]]:
    """Return what the server does by itself, each without an end."""
    works = [
        upkeep.keep_doing("watch.notify_failed", parts.watches.tell, TELL_INTERVAL_S),
        upkeep.keep_doing("watch.listen_failed", parts.watches.listen, LISTEN_INTERVAL_S),
        upkeep.sweep_forever(parts.gate, parts.own, settings.sweep_interval_s),
        upkeep.probe_forever(
            parts.gate,
            probe,
            parts.health.report,
            away=away,
            interval_s=settings.probe_interval_s,
            timeout_s=settings.stalled_after_s,
        ),
        upkeep.collect_garbage_while_shut(parts.gate),
        chain_forever(parts.own, parts.audit_key, ExecutionLogs(settings.logs_dir).write, settings.audit_interval_s),
        roll_up_forever(parts.own, settings.rollup_interval_s),
        *vigils(settings, parts),
    ]
    if parts.start_override is not None:
        works.append(parts.start_override.ensure_forever())
    if parts.callers is not None:
        works += [
            upkeep.keep_doing("callers.refresh_failed", parts.callers.refresh, CALLERS_INTERVAL_S),
            upkeep.keep_doing("callers.uses_failed", parts.callers.write_uses, USES_INTERVAL_S),
        ]
    return works


def _delivery_limits(settings: Settings) -> DeliveryLimits:
    return DeliveryLimits(
        interval_s=settings.alert_interval_s,
        timeout_s=settings.alert_timeout_s,
        attempts_max=settings.alert_attempts_max,
        retry_s=settings.alert_retry_s,
    )


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks; again where one waits for a database that hangs to stop its statement."""
    for patience_s in (STOP_PATIENCE_S, None):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=patience_s)
