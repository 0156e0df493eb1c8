"""Which column says what? By name, by the names that others use, or by the caller's word."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from .source import LayoutError

# What a call may tell, and other names for it: those of files seen in the open. Case and punctuation do not count.
SYNONYMS: Final[Mapping[str, Sequence[str]]] = {
    "run": ("run_id", "trace_id", "session_id", "conversation_id"),
    "agent": ("agent_id", "agent_name"),
    "agent_type": ("subagent_type", "log_type"),
    "campaign": (),
    "department": (),
    "model": ("model_name", "model_id"),
    "input_tokens": ("prompt_tokens", "request_tokens", "context_tokens", "input_length", "num_prefill_tokens"),
    "cached_input_tokens": ("cached_input_tokens_est", "cached_tokens"),
    "output_tokens": ("completion_tokens", "response_tokens", "generated_tokens", "output_length", "num_decode_tokens"),
    "t_s": ("start_s", "timestamp", "arrival_time", "arrived_at"),
    "t_ms": ("start_ms", "timestamp_ms"),
    "latency_s": ("api_time_s", "duration_s", "elapsed_time"),
    "latency_ms": ("api_time_ms", "duration_ms"),
    "stop": ("stop_reason", "finish_reason"),
}
MEANINGS: Final[Mapping[str, str]] = {
    "input_tokens": "the input tokens",
    "output_tokens": "the output tokens",
    "model": "the model",
    "t_s": "when a call began",
}

Columns = Mapping[str, int]


def find_columns(header: Sequence[str], given: Mapping[str, str], needed: Iterable[str]) -> Columns:
    """Return the position of each field's column, for those that the file has.

    `given` maps fields to columns, and wins; an empty column means that the file has none. Raises `LayoutError`.
    """
    if unknown := sorted(given.keys() - SYNONYMS.keys()):
        message = f"--column {unknown[0]}=…: there is no such field; the fields are {', '.join(SYNONYMS)}"
        raise LayoutError(message)
    told = {field: _given(header, field, column) for field, column in given.items()}
    found = {}
    for field, names in SYNONYMS.items():
        position = told[field] if field in told else _find(header, (field, *names), set(told.values()))
        if position is not None:
            found[field] = position
    for field in needed:
        if field not in found and not (field == "t_s" and "t_ms" in found):
            raise LayoutError(_missing(header, field))
    return found


def _given(header: Sequence[str], field: str, column: str) -> int | None:
    if not column:
        return None
    if (count := header.count(column)) == 1:
        return header.index(column)
    problem = "there is no such column" if count == 0 else f"there are {count} such columns"
    message = f"--column {field}={column}: {problem}; the file has {_list(header)}"
    raise LayoutError(message)


def _find(header: Sequence[str], names: Sequence[str], taken: Container[int | None]) -> int | None:
    """Return the first column that has one of the names, the earlier names first, and tells nothing else already."""
    spelled = ["" if place in taken else _bare(column) for place, column in enumerate(header)]
    for name in map(_bare, names):
        if (count := spelled.count(name)) == 1:
            return spelled.index(name)
        if count:
            message = f"the file has {count} columns named {name!r}; it has {_list(header)}"
            raise LayoutError(message)
    return None


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _missing(header: Sequence[str], field: str) -> str:
    message = f"no column tells {MEANINGS[field]}; the file has {_list(header)}: name one with --column {field}=NAME"
    return f"{message}, or give one model for all rows with --model" if field == "model" else message


def _list(header: Sequence[str]) -> str:
    return ", ".join(map(repr, header))
