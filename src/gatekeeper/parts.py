"""What is a server made of, beside the addresses it listens on?"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from gatekeeper.database import audit_key, token_file
from gatekeeper.domain.access import Actor, Caller, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.open_holds import HoldLimits
from gatekeeper.metrics import Metrics
from gatekeeper.rpc.health import Health
from gatekeeper.rpc.server import SERVICES
from gatekeeper.services import audit_seals, setup, tokens
from gatekeeper.services.batch import Rules
from gatekeeper.services.callers import Callers
from gatekeeper.services.changes import Changes
from gatekeeper.services.gate import Gate, GateLimits
from gatekeeper.services.prices import Prices
from gatekeeper.settings import Settings
from gatekeeper.storage.connections import Pool, open_pool, wrap_errors

log = structlog.get_logger(__name__)

# Connections of what the server does by itself: one each to sweep, to probe, to know its callers, and to chain.
UPKEEP_POOL = 4
# Connections of what admins change: two organizations' shares (rpc/shares.py). Each may wait for a lock; on the gate's
# connections they would stand in the way of every organization's calls.
CHANGES_POOL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What calls are answered by. Without `callers`, nobody is asked for a token; without `metrics`, nobody counts.

    `changed` hears of the organizations whose budgets or overrides have changed.
    """

    gate: Gate
    hot: Pool
    changes: Pool
    reads: Pool
    own: Pool
    prices: Prices
    health: Health
    callers: Callers | None
    audit_key: AuditKey
    changed: Changes
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
    prices = Prices()
    await _require(own, prices)
    key = audit_key(settings)
    await audit_seals.warn_of_other_key(own, key)
    changed = Changes()
    metrics = Metrics() if settings.http_listen else None
    return Parts(
        gate=Gate(hot, _rules(settings, prices, key), _limits(settings), changed, metrics),
        hot=hot,
        changes=changes,
        reads=reads,
        own=own,
        prices=prices,
        health=Health(SERVICES),
        callers=None if settings.insecure else Callers(own),
        audit_key=key,
        changed=changed,
        metrics=metrics,
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
        audit_key=key,
    )


def _limits(settings: Settings) -> GateLimits:
    return GateLimits(
        batch_max=settings.batch_max,
        queue_max=settings.queue_max,
        queue_total_max=settings.queue_total_max,
        batch_timeout_s=settings.batch_timeout_s,
        stalled_after_s=settings.stalled_after_s,
    )
