"""What is in a page token? Where the page ended, and for which request: opaque to callers, checked on return."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from gatekeeper.domain.errors import InvalidField

PAGE_SIZE_DEFAULT = 100
DIGEST_CHARS = 12
FOREIGN = "is not one that this server made"


def page_size(asked: int) -> int:
    """Return how many entries a page has."""
    return asked or PAGE_SIZE_DEFAULT


def write_token(request: Message, position: Sequence[Any] | None) -> str:
    """Return the token of the page behind `position`; empty when there is none."""
    if position is None:
        return ""
    parts = [part.isoformat() if isinstance(part, datetime) else part for part in position]
    # Not escaped: two names of 128 characters, each an escape of 12 bytes, would be longer than a token may be.
    written = json.dumps([_digest(request), *parts], ensure_ascii=False)
    return base64.urlsafe_b64encode(written.encode()).decode()


def read_token(request: Any, length: int) -> list[str] | None:
    """Return the `length` parts of the position in a request's token. Raises `InvalidField`."""
    token = request.page_token
    if not token:
        return None
    parts: list[str]
    try:
        digest, *parts = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, TypeError) as error:
        raise InvalidField(field="page_token", problem=FOREIGN) from error
    if len(parts) != length or not all(map(_is_text, parts)):
        raise InvalidField(field="page_token", problem=FOREIGN)
    if digest != _digest(request):
        raise InvalidField(field="page_token", problem="belongs to a request with other fields; begin anew")
    return parts


def read_instant(part: str) -> datetime:
    """Read an instant of a position. Raises `InvalidField`."""
    try:
        return datetime.fromisoformat(part).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field="page_token", problem=FOREIGN) from error


def _is_text(part: object) -> bool:
    """Tell whether PostgreSQL would take it for one: it knows no NUL, and UTF-8 no half characters."""
    return isinstance(part, str) and "\0" not in part and part == part.encode(errors="ignore").decode()


def _digest(request: Any) -> str:
    """Return what stands for all of a request but its place in the pages."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:DIGEST_CHARS]
