"""How does each call become a span of OpenTelemetry? Only where that is set; its packages are an extra.

The SDK's own variables say where spans go and how many: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, and so on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from gatekeeper.trace import Parent

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

SERVICE = "gatekeeper"
# What OpenTelemetry calls errors of the server; the others are the caller's.
ERRORS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
# How long the last spans may take to leave when the server stops, with a collector that may be away.
PATIENCE_S = 2.0


class OtelMissing(Exception):
    """The setting otel needs packages that are not installed: pip install 'budget-gatekeeper[otel]'."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__(OtelMissing.__doc__)


class Spans:
    """Makes a SERVER span for each call, as a child of the caller's where that names one."""

    def __init__(self, provider: TracerProvider) -> None:
        """Make spans of this provider."""
        from opentelemetry import context, trace

        self._trace = trace
        self._outside = context.Context()
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)

    def begin(self, service: str, method: str, parent: Parent | None) -> Span:
        """Begin the span of a call."""
        trace = self._trace
        within = self._outside
        if parent is not None:
            remote = trace.SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=trace.TraceFlags(parent.flags),
            )
            within = trace.set_span_in_context(trace.NonRecordingSpan(remote), within)
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        return self._tracer.start_span(f"{service}/{method}", within, trace.SpanKind.SERVER, attributes)

    def end(self, span: Span, status: grpc.StatusCode, organization: str, outcome: str) -> None:
        """End it with the call's status, and its verdict, or the reason where there is none."""
        span.set_attribute("rpc.grpc.status_code", status.value[0])
        span.set_attribute("gatekeeper.organization", organization)
        if outcome:
            span.set_attribute("gatekeeper.verdict" if status is grpc.StatusCode.OK else "gatekeeper.reason", outcome)
        if status in ERRORS:
            span.set_status(self._trace.StatusCode.ERROR, outcome)
        span.end()

    def close(self) -> None:
        """Send what is left, for as long as patience lasts."""
        # A collector that is away is tried for half a minute, which must not keep the process from ending.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        thread.join(PATIENCE_S)


@contextmanager
def exporting(instance: str) -> Iterator[Spans]:
    """Send spans by OTLP while inside. Raises `OtelMissing` where the packages are not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.environment_variables import OTEL_TRACES_SAMPLER
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ImportError as error:
        raise OtelMissing from error
    # Callers without a tracer name traces that nobody samples: unless told to, do not go by that.
    sampler = None if OTEL_TRACES_SAMPLER in os.environ else ALWAYS_ON
    provider = TracerProvider(sampler=sampler, resource=_resource(instance), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    spans = Spans(provider)
    try:
        yield spans
    finally:
        spans.close()


def _resource(instance: str) -> Resource:
    """Return what spans say of this process; the environment's words win."""
    from opentelemetry.sdk.resources import Resource

    named = Resource.create({"service.instance.id": instance})
    if str(named.attributes["service.name"]).startswith("unknown_service"):
        return named.merge(Resource({"service.name": SERVICE}))
    return named
