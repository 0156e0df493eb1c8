"""What does one record say of a call, and what makes it unreadable?"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple
from unicodedata import category

from .columns import Columns
from .source import Record, Source, Unreadable

# What the server takes: a row beyond it would only come back as INVALID_ARGUMENT, without its line.
TEXT_LENGTH_MAX: Final = 128
TOKENS_MAX: Final = 1_000_000_000
LATENCY_MAX_S: Final = 604_800.0
AGENT_DEFAULT: Final = "main"

WHOLE: Final = re.compile(r"([0-9]{1,12})(\.0*)?", re.ASCII)
DECIMAL: Final = re.compile(r"-?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?|-?[0-9]+\.", re.ASCII)


class Row(NamedTuple):
    """A call: who made it, when it began, what it used, how long it took.

    `start_s` counts from the start of its session; `latency_s` is None where it was not told; without `ended`, the
    call never told its end.
    """

    line: int
    run: str
    agent: str
    agent_type: str
    campaign: str
    department: str
    model: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    start_s: float = 0.0
    latency_s: float | None = None
    ended: bool = True


class _BadCellError(ValueError):
    """A cell does not say what it should; the message is the reason to report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReader:
    """Reads records of one layout.

    `model` stands for a missing one, `renamed` maps models of the file to those that are priced.
    """

    columns: Columns
    model: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    def rows(self, source: Source) -> Iterator[Row | Unreadable]:
        """Yield each call, or why a line is none."""
        for record in source.records:
            yield record if isinstance(record, Unreadable) else self.read(record)

    def read(self, record: Record) -> Row | Unreadable:
        """Return the call of a record, or why it is none."""
        try:
            return self._read(record)
        except _BadCellError as error:
            return Unreadable(record.line, str(error))

    def _read(self, record: Record) -> Row:
        input_tokens = self._tokens(record, "input_tokens")
        cached_input_tokens = self._tokens(record, "cached_input_tokens", missing=0)
        if cached_input_tokens > input_tokens:
            message = f"cached_input_tokens {cached_input_tokens} is more than input_tokens {input_tokens}"
            raise _BadCellError(message)
        return Row(
            line=record.line,
            run=self._text(record, "run"),
            agent=self._text(record, "agent") or AGENT_DEFAULT,
            agent_type=self._text(record, "agent_type"),
            campaign=self._text(record, "campaign"),
            department=self._text(record, "department"),
            model=self._model(record),
            input_tokens=input_tokens,
            cached_input_tokens=cached_input_tokens,
            output_tokens=self._tokens(record, "output_tokens"),
            start_s=self._start_s(record),
            latency_s=self._latency_s(record),
            ended="stop" not in self.columns or bool(self._cell(record, "stop")),
        )

    def _cell(self, record: Record, name: str) -> str:
        position = self.columns.get(name)
        return "" if position is None else record.cells[position].strip()

    def _text(self, record: Record, name: str) -> str:
        text = self._cell(record, name)
        if len(text) > TEXT_LENGTH_MAX:
            message = f"{name} has {len(text)} characters, {TEXT_LENGTH_MAX} are the most"
            raise _BadCellError(message)
        if not text.isprintable() and any(category(character).startswith("C") for character in text):
            message = f"{name} {text!r} has characters that are not text"
            raise _BadCellError(message)
        return text

    def _model(self, record: Record) -> str:
        named = self._text(record, "model")
        model = self.renamed.get(named, named) or self.model
        if not model:
            message = "model is missing (--model stands in for it)"
            raise _BadCellError(message)
        return model

    def _tokens(self, record: Record, name: str, *, missing: int | None = None) -> int:
        text = self._cell(record, name)
        if not text and missing is not None:
            return missing
        whole = WHOLE.fullmatch(text)
        if whole is None or (count := int(whole[1])) > TOKENS_MAX:
            message = f"{name} {text!r} is not a whole number from 0 to {TOKENS_MAX}" if text else f"{name} is missing"
            raise _BadCellError(message)
        return count

    def _start_s(self, record: Record) -> float:
        if text := self._cell(record, "t_s"):
            return _instant_s(text) if "-" in text[1:] and ":" in text else _number("t_s", text)
        text = self._cell(record, "t_ms")
        return _number("t_ms", text) / 1000 if text else 0.0

    def _latency_s(self, record: Record) -> float | None:
        if text := self._cell(record, "latency_s"):
            latency_s = _number("latency_s", text)
        elif text := self._cell(record, "latency_ms"):
            latency_s = _number("latency_ms", text) / 1000
        else:
            return None
        if latency_s > LATENCY_MAX_S:
            message = f"latency {text!r} is more than {LATENCY_MAX_S:.0f} s"
            raise _BadCellError(message)
        return latency_s


def _number(name: str, text: str) -> float:
    """Return a number of seconds or milliseconds: what time it is may be a float, what it costs never is."""
    number = float(text) if DECIMAL.fullmatch(text) else math.nan
    if not 0 <= number < math.inf:
        message = f"{name} {text!r} is not a number from 0 on"
        raise _BadCellError(message)
    return number


def _instant_s(text: str) -> float:
    """Return an ISO 8601 instant as seconds since 1970; UTC where it names no zone."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        message = f"t_s {text!r} is neither a number nor a date with time"
        raise _BadCellError(message) from None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
