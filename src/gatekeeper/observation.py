"""How is a running server seen from outside? By HTTP, by a line for each call, and by spans: whatever is set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from gatekeeper.parts import Parts
from gatekeeper.rpc.call_log import CallLog
from gatekeeper.rpc.line_writer import LineWriter
from gatekeeper.rpc.spans import exporting
from gatekeeper.rpc.witness import Witnesses
from gatekeeper.services.figures import FigureReader
from gatekeeper.settings import Settings
from gatekeeper.telemetry import is_for_people

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """To whom calls are told, and where HTTP is served, if it is."""

    witnesses: Witnesses
    http_address: str | None


@asynccontextmanager
async def observed(settings: Settings, parts: Parts, lines: LineWriter | None) -> AsyncIterator[Observation]:
    """Let the server be seen while inside, until its last call; log calls to `lines`.

    Raises `ListenError` or `OtelMissing`.
    """
    async with AsyncExitStack() as stack:
        http_address = await _http(settings, parts, stack)
        call_log = None if lines is None else _call_log(settings, lines)
        spans = stack.enter_context(exporting(settings.instance)) if settings.otel else None
        witnesses = Witnesses(metrics=parts.metrics, call_log=call_log, spans=spans)
        yield Observation(witnesses=witnesses, http_address=http_address)


def _call_log(settings: Settings, lines: LineWriter) -> CallLog | None:
    """Return where calls are logged: verdicts are informative, their absence is a warning."""
    if settings.log_calls == "none" or settings.log_level == "error":
        return None
    only_failed = settings.log_calls == "failed" or settings.log_level == "warning"
    return CallLog(lines, only_failed=only_failed, for_people=is_for_people(settings.log_format))


async def _http(settings: Settings, parts: Parts, stack: AsyncExitStack) -> str | None:
    """Serve HTTP where that is set; return its address."""
    if settings.http_listen is None or parts.metrics is None:
        return None
    # What serves HTTP takes a tenth of a second to import.
    from gatekeeper.web.endpoints import build_app
    from gatekeeper.web.exposition import Sources
    from gatekeeper.web.server import hosts_of, serving

    hosts = hosts_of(settings.http_listen, is_open=settings.http_open)
    figures = FigureReader(parts.own, settings.metrics_budgets_max, lambda: not parts.gate.is_open)
    stack.push_async_callback(figures.stop)
    sources = Sources(
        metrics=parts.metrics,
        gate=parts.gate,
        pools=(parts.hot, parts.changes, parts.reads, parts.own),
        readiness=parts.health,
        figures=figures,
        streams=lambda: len(parts.streams),
        exports=lambda: len(parts.exports),
        places=parts.invoice_files.places,
        channels=[channel.name for channel in parts.channels],
    )
    return await stack.enter_async_context(serving(build_app(sources, hosts), settings.http_listen))
