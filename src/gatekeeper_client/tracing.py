"""Which trace does a call belong to? That of OpenTelemetry's current span, if there is one; else one of its own.

The server writes the trace's id into its log, so that a failed call can be found there.
"""

from __future__ import annotations

import os
import sys
from typing import Final

HEADER: Final = "traceparent"
TRACE_ID: Final = slice(3, 35)

Metadata = tuple[tuple[str, str], ...]


def traced(metadata: Metadata) -> Metadata:
    """Return the metadata of one call: with the W3C traceparent, at its end."""
    return (*metadata, (HEADER, _current() or _fresh()))


def trace_id_of(metadata: Metadata) -> str:
    """Return the trace of a call's metadata, as `traced` returns it: 32 hexadecimal digits."""
    return metadata[-1][1][TRACE_ID]


def _current() -> str | None:
    # Whoever has a span has imported this.
    opentelemetry = sys.modules.get("opentelemetry.trace")
    if opentelemetry is None:
        return None
    span = opentelemetry.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else None


def _fresh() -> str:
    """Return a trace of its own, which is not sampled: nobody records it here."""
    ids = os.urandom(24).hex()
    return f"00-{ids[:32]}-{ids[32:]}-00"
