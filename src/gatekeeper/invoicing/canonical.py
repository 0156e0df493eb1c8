"""How is an invoice kept, so that it can be hashed and read again? As JSON of which there is one for each invoice.

Keys are sorted, there are no blanks, amounts are plain decimals in quotes, instants are in UTC to the microsecond.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_type_hints

from gatekeeper.domain.invoices import InvoiceDocument

ENCODE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
# What may be long of an invoice, and is known before its number.
LONG = ("lines", "days", "models", "overrides", "spans")


def to_text(document: InvoiceDocument, written: Mapping[str, str] | None = None) -> str:
    """Return the canonical text of an invoice; `written` are fields that `write_fields` has written before."""
    known = written or {}
    names = sorted(field.name for field in fields(document))
    parts = [f'"{name}":{known[name] if name in known else _write(document, name)}' for name in names]
    return f"{{{','.join(parts)}}}"


def from_text(text: str) -> InvoiceDocument:
    """Return the invoice of a canonical text. Raises ValueError, KeyError or TypeError for any other."""
    return from_record(json.loads(text))


def write_fields(document: InvoiceDocument, names: Iterable[str] = LONG) -> dict[str, str]:
    """Return some of an invoice's fields as they stand in its canonical text."""
    return {name: _write(document, name) for name in names}


def to_record(document: InvoiceDocument) -> dict[str, Any]:
    """Return an invoice as JSON has it."""
    return dict(_plain(document))


def from_record(record: Mapping[str, Any]) -> InvoiceDocument:
    """Return the invoice of a record. Raises ValueError, KeyError or TypeError for what is none."""
    document: InvoiceDocument = _reader(InvoiceDocument)(record)
    return document


def _write(document: InvoiceDocument, name: str) -> str:
    return ENCODE(_plain(getattr(document, name)))


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int):
        return value
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return [_plain(each) for each in value]


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what reads a value of a type, as `_plain` writes it."""
    if is_dataclass(kind):
        readers = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}
        make: Any = kind
        return lambda record: make(**{name: readers[name](value) for name, value in record.items()})
    if arguments := get_args(kind):
        read = _reader(arguments[0])
        return lambda values: tuple(map(read, values))
    if kind in (date, datetime):
        return kind.fromisoformat  # type: ignore[no-any-return]
    if kind is Decimal or issubclass(kind, StrEnum):
        return kind  # type: ignore[no-any-return]
    return _same


def _same(value: Any) -> Any:
    return value
