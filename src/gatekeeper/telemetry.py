"""How are events logged? As structlog events with stable names, for people on a terminal and as JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(level: str, fmt: str) -> None:
    """Send events of `level` and above to standard error, as `console`, `json`, or what suits (`auto`)."""
    console = fmt == "console" or (fmt == "auto" and sys.stderr.isatty())
    last: list[Any] = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    if console:
        last = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # psycopg's pool reports every failed attempt to connect; the probe says once what matters.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
