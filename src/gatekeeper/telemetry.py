"""How are events logged? As structlog events with stable names, for people on a terminal and as JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import structlog
import structlog.tracebacks
from structlog.typing import EventDict

from . import trace

# Without the values of local variables: those are what callers sent.
EXCEPTIONS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LineLogger:
    """Gives each event, rendered, to what writes lines."""

    def __init__(self, add: Callable[[str], None]) -> None:
        """Give lines to `add`."""
        self._add = add

    def msg(self, message: str) -> None:
        """Write an event."""
        self._add(f"{message}\n")

    debug = info = warning = error = critical = msg


class _OthersLines(logging.Handler):
    """Gives what libraries log to what writes lines."""

    def __init__(self, add: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._add = add

    def emit(self, record: logging.LogRecord) -> None:
        self._add(f"{self.format(record)}\n")


def configure_logging(level: str, fmt: str, add: Callable[[str], None] | None = None) -> None:
    """Send events of `level` and above to standard error, as `console`, `json`, or what suits (`auto`).

    With `add`, lines are given to it instead, and so is what libraries log: nobody waits until they are written.
    """
    last: list[Any] = [EXCEPTIONS, structlog.processors.JSONRenderer()]
    if is_for_people(fmt):
        last = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_trace,
            _without_rows,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr) if add is None else lambda *_: LineLogger(add),
        cache_logger_on_first_use=True,
    )
    if add is not None:
        logging.getLogger().addHandler(_OthersLines(add))
    # psycopg's pool reports every failed attempt to connect; the probe says once what matters.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def is_for_people(fmt: str) -> bool:
    """Tell whether a format is for people on a terminal."""
    return fmt == "console" or (fmt == "auto" and sys.stderr.isatty())


def _with_trace(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Say which call an event belongs to."""
    if (call := trace.CURRENT.get()) is not None:
        event.setdefault("trace_id", call.trace_id)
    return event


def _without_rows(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Keep the first line of what PostgreSQL says of an error: the others quote the row, which is what callers sent."""
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        for cause in _causes(error, set()):
            if first_line := getattr(getattr(cause, "diag", None), "message_primary", None):
                cause.args = (first_line,)
    return event


def _causes(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """Yield an error, all that it came from, and all that are in it."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for cause in (error.__cause__, error.__context__, *inner):
        yield from _causes(cause, seen)
