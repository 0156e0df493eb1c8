"""Does a request keep the rules that the protos state for its fields?

The client's messages come without the rules (see `tools/generate_protos.py`), so a request is read once more with the
full descriptors: half a microsecond, beside five for the rules themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import protovalidate
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from .statuses import InvalidRequest

RULES = "rules.binpb"
PACKAGE = "gatekeeper.v1"
# A list that is too long is told by itself, and nothing of what is in it: sixty thousand bad numbers would take a
# second, in which no call is answered. No smaller message has many.
SMALL_BYTES_MAX = 2048
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
        self._entries_max = _entries_max(self._pool, files)
        self._rules = protovalidate.Validator()

    def checker(self, name: str) -> Callable[[Message], bytes]:
        """Return what checks messages of the full name `name`, and returns their canonical bytes.

        It raises `InvalidRequest` with every violation, or with the one list that is too long. A field that this
        version does not know is one: it may bound the call in a way that the server would silently leave out.
        """
        ruled = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
        rules, entries_max = self._rules, self._entries_max

        def check(message: Message) -> bytes:
            serialized = message.SerializeToString(deterministic=True)
            request = ruled.FromString(serialized)
            if len(serialized) > SMALL_BYTES_MAX:
                _require_short_lists(request, entries_max)
            violations = rules.collect_violations(request)
            request.DiscardUnknownFields()
            if violations or request.ByteSize() != len(serialized):
                raise InvalidRequest([*map(_describe, violations), *_unknown(len(serialized) - request.ByteSize())])
            return serialized

        return check


def _entries_max(pool: descriptor_pool.DescriptorPool, files: descriptor_pb2.FileDescriptorSet) -> Mapping[str, int]:
    """Return how many entries lists may have, by the full names of their fields."""
    rules = pool.FindExtensionByName("buf.validate.field")
    options = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FieldOptions"))
    # Options are read with the types that they are made of, once these are known.
    message_factory.GetMessageClass(pool.FindMessageTypeByName("buf.validate.FieldRules"))
    found = {}
    for file in files.file:
        for message in file.message_type if file.package == PACKAGE else ():
            for field in message.field:
                stated: Any = options.FromString(field.options.SerializeToString())
                if most := stated.Extensions[rules].repeated.max_items:
                    found[f"{PACKAGE}.{message.name}.{field.name}"] = most
    return found


def _require_short_lists(message: Message, entries_max: Mapping[str, int], path: str = "") -> None:
    """Raise `InvalidRequest` for the first list that has more entries than it may."""
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        most = entries_max.get(field.full_name)
        if most is not None and len(value) > most:
            raise InvalidRequest([(name, f"must contain no more than {most} item(s)")])
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if not field.is_repeated:
            _require_short_lists(value, entries_max, name)
            continue
        for index, entry in enumerate(value):
            _require_short_lists(entry, entries_max, f"{name}[{index}]")


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
