"""Does a request keep the rules that the protos state for its fields?

The client's messages come without the rules (see `tools/generate_protos.py`), so a request is read once more with the
full descriptors: half a microsecond, beside five for the rules themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import protovalidate
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from .statuses import InvalidRequest

RULES = "rules.binpb"
# Of a larger message the first violation is told alone: a list of sixty thousand bad numbers would otherwise take a
# second, in which no call is answered.
ALL_TOLD_BYTES_MAX = 2048
# The patterns of the protos, in words: the first of which a part is in the pattern.
HINTS = {
    "[0-9]{1,2}([.]": "must be a number of percent like 19 or 8.1",
    "[0-9A-Z+*.]": "must be a VAT id with its country, like DE123456789",
    "0-9A-Za-z/_.-": "must be a number like 2026-000001",
    "([A-Z]{2})": "must be two capital letters, like DE",
    "^([0-9]{4}-(0[1-9]|1[0-2]))?$": "must be a month like 2026-11",
    "0-9": "must be like 2026-11-20, 2026-11 or total",
    r"\s": "must have no control characters, and no blank at either end",
    r"\pC": "must have no control characters",
}


class Validator:
    """Checks requests by the rules in the protos."""

    def __init__(self) -> None:
        """Read the full descriptors."""
        self._pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString(resources.files(__package__).joinpath(RULES).read_bytes())
        for file in files.file:
            self._pool.Add(file)
        self._rules = protovalidate.Validator()

    def checker(self, name: str) -> Callable[[Message], bytes]:
        """Return what checks messages of the full name `name`, and returns their canonical bytes.

        It raises `InvalidRequest` with every violation, or the first one of a large message. A field that this version
        does not know is one: it may bound the call in a way that the server would silently leave out.
        """
        ruled = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
        rules = self._rules

        def check(message: Message) -> bytes:
            serialized = message.SerializeToString(deterministic=True)
            request = ruled.FromString(serialized)
            violations = rules.collect_violations(request, fail_fast=len(serialized) > ALL_TOLD_BYTES_MAX)
            request.DiscardUnknownFields()
            if violations or request.ByteSize() != len(serialized):
                raise InvalidRequest([*map(_describe, violations), *_unknown(len(serialized) - request.ByteSize())])
            return serialized

        return check


def _unknown(surplus: int) -> list[tuple[str, str]]:
    if not surplus:
        return []
    return [("unknown", f"fields ({surplus} bytes) that this server does not know; update the server first")]


def _describe(violation: protovalidate.Violation) -> tuple[str, str]:
    proto = violation.proto
    path = ""
    for element in proto.field.elements if proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            path += f"[{subscript.value!r}]"
    return path, _in_words(proto.message)


def _in_words(text: str) -> str:
    if "regex" not in text:
        return text
    return next(words for part, words in HINTS.items() if part in text)
