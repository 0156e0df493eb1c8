"""Which model strings does a clause of a price book mean?

The clauses are those of the library genai-prices, and so is their meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Any, Self

from .price_documents import Document, read_text

# Twice the longest one known.
REGEX_LENGTH_MAX = 256
# Each one multiplies the time of a match by the length of the model string.
REGEX_REPEATS_MAX = 2
# Each alternative or optional part can double the time of a match.
REGEX_CHOICES_MAX = 10

_TEXT_KINDS = frozenset(("equals", "starts_with", "ends_with", "contains"))
_PART_KINDS = frozenset(("or", "and"))
_REPEATED_GROUP = re.compile(r"\)(?:[*+]|\{)")
_REPEAT = re.compile(r"[*+]|\{\d*,")
_CHOICE = re.compile(r"\||(?<!\()\?")
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def dash_dates(ref: str) -> str:
    """Write dates such as `-20251211` in a model string as `-2025-12-11`."""
    return _COMPACT_DATE.sub(_dashed, ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """A condition on a lower-case model string; `from_document` makes it.

    `text` is what to compare with, lower-case, or a regular expression to search for; `parts`
    are the clauses of `or` and `and`.
    """

    kind: str
    text: str = ""
    parts: tuple[Clause, ...] = ()
    pattern: re.Pattern[str] | None = None

    def matches(self, ref: str) -> bool:  # noqa: PLR0911 - one answer for each kind
        """Say whether a lower-case model string meets the condition."""
        match self.kind:
            case "equals":
                return ref == self.text
            case "starts_with":
                return ref.startswith(self.text)
            case "ends_with":
                return ref.endswith(self.text)
            case "contains":
                return self.text in ref
            case "or":
                return any(part.matches(ref) for part in self.parts)
            case "and":
                return all(part.matches(ref) for part in self.parts)
            case _:
                return self.pattern is not None and self.pattern.search(ref) is not None

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read `{"equals": "gpt-5"}`, `{"or": [{…}, …]}` and the like."""
        [(kind, operand)] = document.items()
        if kind in _TEXT_KINDS:
            return cls(kind=kind, text=read_text(operand).lower())
        if kind in _PART_KINDS:
            return cls(kind=kind, parts=tuple(cls.from_document(part) for part in operand))
        if kind == "regex":
            return cls(kind=kind, text=read_text(operand), pattern=_compile(operand))
        message = f"unknown clause: {kind!r}"
        raise ValueError(message)

    def to_document(self) -> dict[str, Any]:
        """Write what `from_document` reads."""
        if self.kind in _PART_KINDS:
            return {self.kind: [part.to_document() for part in self.parts]}
        return {self.kind: self.text}


def _compile(regex: str) -> re.Pattern[str]:
    """Compile a regular expression, unless it could take very long on some model string."""
    if (
        len(regex) > REGEX_LENGTH_MAX
        or _REPEATED_GROUP.search(regex)
        or len(_REPEAT.findall(regex)) > REGEX_REPEATS_MAX
        or len(_CHOICE.findall(regex)) > REGEX_CHOICES_MAX
    ):
        message = f"too costly a regular expression: {regex[:REGEX_LENGTH_MAX]!r}"
        raise ValueError(message)
    try:
        return re.compile(regex)
    except re.error as error:
        message = f"not a regular expression: {regex!r}: {error}"
        raise ValueError(message) from None


def _dashed(compact: re.Match[str]) -> str:
    year, month, day = (int(part) for part in compact.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return compact[0]
