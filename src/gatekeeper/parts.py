"""What is a server made of, beside the addresses it listens on?"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from gatekeeper.alerting.channels import Channel, channels_of
from gatekeeper.database import audit_key, token_file
from gatekeeper.domain.access import Actor, Caller, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.grants import GrantLimits
from gatekeeper.domain.open_holds import HoldLimits
from gatekeeper.letterhead import letterhead
from gatekeeper.metrics import Metrics
from gatekeeper.rpc.health import Health
from gatekeeper.rpc.invoice_exports import EXPORTS_MAX, PARTY_EXPORTS_MAX
from gatekeeper.rpc.server import SERVICES
from gatekeeper.rpc.stream_boundary import PARTY_STREAMS_MAX
from gatekeeper.rpc.streams import Streams
from gatekeeper.rpc.watch import write_view
from gatekeeper.services import audit_seals, setup, tokens
from gatekeeper.services.batch import Rules
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.callers import Callers
from gatekeeper.services.changes import Changes
from gatekeeper.services.gate import Gate, GateLimits
from gatekeeper.services.invoice_files import InvoiceFiles
from gatekeeper.services.invoices import Invoices
from gatekeeper.services.overrides import Grants
from gatekeeper.services.prices import Prices
from gatekeeper.services.start_override import StartOverride, StartTerms
from gatekeeper.services.views import read_view
from gatekeeper.services.watch import Watches
from gatekeeper.settings import Settings
from gatekeeper.storage.connections import Line, Pool, open_pool, wrap_errors
from gatekeeper.storage.installations import read_installation_id

log = structlog.get_logger(__name__)

# Connections of what the server does by itself: one each to sweep, to know its callers, to chain, to deliver alerts, on
# however many channels, to tell other processes what has changed, to predict when budgets are used up, and to add up
# executions; two to read figures for metrics, and two for the breaker.
UPKEEP_POOL = 11
# Connections of what admins change and agents ask of them: three shares (rpc/shares.py). Each may wait for a lock; on
# the gate's connections they would stand in the way of every organization's calls.
CHANGES_POOL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What calls are answered by. Without `callers`, nobody is asked for a token; without `metrics`, nobody counts.

    `changed` hears of the organizations whose budgets or overrides have changed. `start_override` is None where none is
    turned on at start.
    """

    database_url: str = field(repr=False)
    gate: Gate
    budgets: Budgets
    hot: Pool
    changes: Pool
    reads: Pool
    own: Pool
    probe: Line
    prices: Prices
    health: Health
    callers: Callers | None
    audit_key: AuditKey
    changed: Changes
    watches: Watches
    streams: Streams
    exports: Streams
    grants: Grants
    invoices: Invoices
    invoice_files: InvoiceFiles
    start_override: StartOverride | None
    channels: Sequence[Channel]
    metrics: Metrics | None


async def open_parts(settings: Settings, database_url: str, stack: AsyncExitStack) -> Parts:
    """Open the database's pools, and make what calls are answered by. Raises `SchemaError` or `RoleError`."""
    pools = [
        await stack.enter_async_context(open_pool(database_url, name=name, size_max=size_max, hot=hot))
        for name, size_max, hot in (
            ("gate", settings.pool_max, True),
            # Its statements are the hot path's, and hold the same locks.
            ("changes", CHANGES_POOL, True),
            ("reads", settings.report_pool_max, False),
            # Upkeep has connections of its own: reports that take long must not look like a database away.
            ("upkeep", UPKEEP_POOL, False),
        )
    ]
    hot, changes, reads, own = pools
    # Of its own: whatever else waits for a connection, the database is not away because of it.
    probe = Line(database_url, "probe")
    stack.push_async_callback(probe.close)
    prices = Prices()
    await _require(own, prices)
    key = audit_key(settings)
    await audit_seals.warn_of_other_key(own, key)
    changed = Changes()
    metrics = Metrics() if settings.http_listen else None
    watches = Watches(
        changes=changed,
        own=own,
        database_url=database_url,
        read=partial(read_view, reads),
        write=write_view,
        origin=secrets.token_hex(8),
    )
    return Parts(
        database_url=database_url,
        gate=Gate(hot, _rules(settings, prices, key), _limits(settings), changed, metrics),
        budgets=Budgets(
            reads=reads,
            writes=changes,
            monthly_budget=settings.monthly_budget,
            auto_provision=settings.auto_provision,
            audit_key=key,
            changes=changed,
        ),
        hot=hot,
        changes=changes,
        reads=reads,
        own=own,
        probe=probe,
        prices=prices,
        health=Health(SERVICES),
        callers=None if settings.insecure else Callers(own),
        audit_key=key,
        changed=changed,
        watches=watches,
        streams=Streams(settings.watch_streams_max, PARTY_STREAMS_MAX),
        exports=Streams(EXPORTS_MAX, PARTY_EXPORTS_MAX),
        grants=Grants(reads=reads, writes=changes, limits=_grant_limits(settings), audit_key=key, changes=changed),
        invoices=Invoices(
            reads=reads,
            writes=changes,
            database_url=database_url,
            letterhead=letterhead(settings),
            audit_key=key,
            empty_months=settings.invoice_empty_months,
        ),
        invoice_files=InvoiceFiles(reads=reads, writes=changes, database_url=database_url),
        start_override=StartOverride(changes, _start_terms(settings), key, changed)
        if settings.allow_budget_override
        else None,
        channels=await _channels(settings, own),
        metrics=metrics,
    )


async def _channels(settings: Settings, pool: Pool) -> Sequence[Channel]:
    """Return where alerts are told. Raises `ChannelUnusable`."""
    with wrap_errors():
        async with pool.connection() as connection:
            installation = await read_installation_id(connection)
    url = settings.alert_webhook_url
    return channels_of(
        logs_dir=settings.logs_dir if settings.alert_log else None,
        webhook_url=None if url is None else url.get_secret_value(),
        webhook_secret_file=settings.alert_webhook_secret_file,
        apprise_file=settings.alert_apprise_file,
        timeout_s=settings.alert_timeout_s,
        installation=str(installation),
    )


async def _require(pool: Pool, prices: Prices) -> None:
    """Refuse a database with a schema that this version does not know; read the price book."""
    with wrap_errors():
        async with pool.connection() as connection:
            await setup.require_usable(connection)
            await prices.refresh(connection)
            if excess := await setup.role_excess(connection):
                log.warning("database.role_excessive", role_may=excess)


async def first_operator(settings: Settings, parts: Parts) -> Path | None:
    """Make the first operator token on the embedded database; return the file that holds it, if there is one."""
    if settings.insecure:
        return None
    path = token_file(settings)
    if settings.database_url is None:
        actor = Actor(Caller(caller_id="", name="gatekeeper serve", role=Role.OPERATOR), "")
        # A file that somebody has named may hold anything.
        is_named = settings.operator_token_file is not None
        await tokens.ensure_operator(parts.own, path, actor, parts.audit_key, keeps_foreign=is_named)
    return path if path.exists() else None


def _rules(settings: Settings, prices: Prices, key: AuditKey) -> Rules:
    return Rules(
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
        grants=_grant_limits(settings),
        audit_key=key,
    )


def _grant_limits(settings: Settings) -> GrantLimits:
    return GrantLimits(
        in_force_max=settings.overrides_max,
        requests_max=settings.override_requests_max,
        second_admin_above=settings.override_second_admin_above,
    )


def _start_terms(settings: Settings) -> StartTerms:
    return StartTerms(
        max_amount=settings.start_override_max,
        ttl=timedelta(seconds=settings.start_override_ttl_s),
        instance=settings.instance,
    )


def _limits(settings: Settings) -> GateLimits:
    return GateLimits(
        batch_max=settings.batch_max,
        queue_max=settings.queue_max,
        queue_total_max=settings.queue_total_max,
        batch_timeout_s=settings.batch_timeout_s,
        stalled_after_s=settings.stalled_after_s,
    )
