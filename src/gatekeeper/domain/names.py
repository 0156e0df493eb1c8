"""Which texts may be names and reasons? Those that a request may carry, wherever they come from."""

from __future__ import annotations

import unicodedata

from .errors import InvalidField

NAME_LENGTH_MAX = 128
REASON_LENGTH_MAX = 500


def check_name(field: str, text: str, length_max: int = NAME_LENGTH_MAX) -> None:
    """Refuse what no request could name. Raises `InvalidField` for `field`."""
    if not 0 < len(text) <= length_max or text != text.strip() or any(map(_is_control, text)):
        problem = f"must be 1 to {length_max} characters, with no control characters, and no blank at either end"
        raise InvalidField(field=field, problem=problem)


def check_reason(text: str) -> None:
    """Refuse what no request could give as a reason. Raises `InvalidField`."""
    if len(text) > REASON_LENGTH_MAX or any(map(_is_control, text)):
        problem = f"must be at most {REASON_LENGTH_MAX} characters, with no control characters"
        raise InvalidField(field="reason", problem=problem)


def _is_control(character: str) -> bool:
    return unicodedata.category(character).startswith("C")
