"""How is a span of time written on the command line? As a number and its unit: 90s, 30m, 2h, 7d."""

from __future__ import annotations

import re
from datetime import timedelta

import typer

SPAN = re.compile("([0-9]{1,9})([smhd])", re.ASCII)
SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
TTL_MAX = timedelta(days=31)


def read_ttl(text: str) -> timedelta:
    """Read how long something lasts, up to 31 days; raise typer.BadParameter for what is no such span."""
    span = SPAN.fullmatch(text.strip())
    if span is None:
        message = f"{text[:64]!r} is not a time like 30m, 2h or 7d"
        raise typer.BadParameter(message)
    ttl = timedelta(seconds=int(span[1]) * SECONDS[span[2]])
    if not ttl:
        message = f"{text!r} is no time at all: give one like 30m, 2h or 7d"
        raise typer.BadParameter(message)
    if ttl > TTL_MAX:
        message = f"{text!r} is longer than 31 days"
        raise typer.BadParameter(message)
    return ttl


def span_text(span: timedelta) -> str:
    """Write a span for people, by its largest unit and the next; what is over is "0s"."""
    rest = max(0, int(span.total_seconds()))
    counts: list[str] = []
    for unit, seconds in SECONDS.items():
        count, rest = divmod(rest, seconds)
        if count or counts:
            counts.append(f"{count}{unit}" if count else "")
    return " ".join(filter(None, counts[:2])) or "0s"
