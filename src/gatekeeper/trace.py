"""Which trace does a call belong to? The one that its caller names by W3C trace context, else one of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import NamedTuple, Protocol

HEADER = "traceparent"
# https://www.w3.org/TR/trace-context/#traceparent-header: later versions may add fields, and none is called ff.
FORM = re.compile("(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
FIRST_VERSION = "00"
NO_TRACE = "0" * 32
NO_SPAN = "0" * 16


class Parent(NamedTuple):
    """The span that a call was made in, in hexadecimal; `flags` as they came."""

    trace_id: str
    span_id: str
    flags: int


class Traced(Protocol):
    """Whatever is part of a trace."""

    @property
    def trace_id(self) -> str:
        """Return the trace's id, 32 digits."""
        ...


# What this task works for; logged with all that it logs. The id itself is read only then: most calls log nothing.
CURRENT: ContextVar[Traced | None] = ContextVar("gatekeeper_call", default=None)


def parent_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Parent | None:
    """Return what a call's metadata says of its trace; None where that is nothing, garbage, or said twice."""
    found = [value for name, value in metadata or () if name == HEADER]
    if len(found) != 1 or not isinstance(found[0], str):
        return None
    return parse(found[0])


def parse(traceparent: str) -> Parent | None:
    """Return what a `traceparent` says; None for what is none."""
    matched = FORM.fullmatch(traceparent)
    if matched is None:
        return None
    version, trace_id, span_id, flags, more = matched.groups()
    if trace_id == NO_TRACE or span_id == NO_SPAN or (more and version == FIRST_VERSION):
        return None
    return Parent(trace_id, span_id, int(flags, 16))


def new_trace_id() -> str:
    """Return an id for a call that names none."""
    return os.urandom(16).hex()
