"""How are the values in a price book's JSON document read and written?

Whatever is wrong with a document is a ValueError that says where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias, TypeVar

Document: TypeAlias = Mapping[str, Any]
T = TypeVar("T")

_MALFORMED = (AttributeError, RecursionError, TypeError, ValueError)


def read_part(read: Callable[[Document], T], document: Document, key: str) -> T:
    """Read one part of a document; ValueError begins with what the part has at `key`."""
    try:
        return read(document)
    except KeyError as error:
        reason = f"lacks {error}"
    except _MALFORMED as error:
        reason = str(error)
    name = document.get(key) if isinstance(document, Mapping) else document
    message = f"{key} {name!r}: {reason}"
    raise ValueError(message)


def check_keys(document: Document, known: frozenset[str]) -> None:
    """Refuse keys that nobody would read: a misspelt rate must not go unseen."""
    if unknown := document.keys() - known:
        message = f"unknown keys: {sorted(unknown)}"
        raise ValueError(message)


def read_text(text: object) -> str:
    """Read a string that is not empty."""
    if not isinstance(text, str) or not text:
        message = f"expected a text, not {text!r}"
        raise ValueError(message)
    return text


def read_decimal(text: object) -> Decimal:
    """Read a decimal, which a document holds as a string."""
    try:
        return Decimal(read_text(text))
    except InvalidOperation:
        message = f"not a decimal: {text!r}"
        raise ValueError(message) from None


def write_decimal(value: Decimal) -> str:
    """Write a decimal without an exponent."""
    return format(value, "f")
