"""How are the fields of a message written? By hand, for what no library would write."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

# Proto3 knows groups only as unknown fields; they nest without a length. The last two do not exist.
WIRE_TYPES = range(8)
VARINT, FIXED64, BYTES, GROUP, END, FIXED32 = range(6)


def varint(number: int) -> bytes:
    """Write a number in groups of seven bits."""
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def tag(number: int, wire_type: int) -> bytes:
    """Write what a field begins with."""
    return varint(number << 3 | wire_type)


def sized(content: bytes) -> bytes:
    """Write a text or message with its length."""
    return varint(len(content)) + content


def bytes_field(number: int, content: bytes) -> bytes:
    """Write a field that is a text or a message."""
    return tag(number, BYTES) + sized(content)


CONTENTS: dict[int, Callable[[Random], bytes]] = {
    VARINT: lambda rng: varint(rng.getrandbits(64)),
    FIXED64: lambda rng: rng.randbytes(8),
    BYTES: lambda rng: sized(rng.randbytes(rng.randint(0, 40))),
    FIXED32: lambda rng: rng.randbytes(4),
}


def any_field(rng: Random, number: int) -> bytes:
    """Write a field of some wire type with some content."""
    wire_type = rng.choice(WIRE_TYPES)
    content = CONTENTS.get(wire_type)
    return tag(number, wire_type) + (content(rng) if content else b"")
