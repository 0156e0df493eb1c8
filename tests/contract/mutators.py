"""How is a valid request spoilt? In its fields or in its bytes, as a random generator says, and so that it repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from .requests import VALID, valid
from .wire_format import BYTES, END, GROUP, VARINT, any_field, bytes_field, tag

WORDS = ("", "o", "i", "r", "c", "n", "USD", "XXX", "2026-11-20", "2026-02-30", "total", "CN=n", "claude-sonnet-4-5")
INT32, INT64 = 2**31, 2**63
EDGES = (-1, 0, 1, 2, 3, 99, 1000, 10**9, 10**12 - 1, 10**12)
SURROGATES = range(0xD800, 0xE000)
NOT_UTF8 = (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"a\x80", b"\xe2\x82")
PROTOCOLS = (
    b"GET / HTTP/1.1\r\n\r\n",
    b'{"organization":"o"}',
    b"\0" * 64,
    b"\xff" * 64,
    b"",
    b"\x0a",
    b"\x16\x03\x01",
)
NUMBER_MAX = 2**29 - 1
# Around what a server takes: 65,536 bytes of a request, 100 levels of messages, 10 bytes of a number.
TEXT_LENGTHS = (127, 128, 129, 500, 1025, 8192, 65_400, 70_000, 1_000_000)
DEPTHS = (10, 99, 100, 101, 1000, 20_000)


def _text(rng: Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(WORDS)
    highest = rng.choice((0x7F, 0x2FF, 0xFFFF, 0x10FFFF))
    codes = (rng.randint(0, highest) for _ in range(rng.randint(0, 140)))
    return "".join(chr(code) for code in codes if code not in SURROGATES)


def _integer(rng: Random, bound: int) -> int:
    edges = [*(edge for edge in EDGES if edge < bound), bound - 1, -bound]
    return rng.choice(edges) if rng.random() < 0.6 else rng.randint(-bound, bound - 1)


VALUES: dict[int, Callable[[Random], Any]] = {
    FieldDescriptor.TYPE_STRING: _text,
    FieldDescriptor.TYPE_BOOL: lambda rng: rng.random() < 0.5,
    FieldDescriptor.TYPE_DOUBLE: lambda rng: rng.choice(
        (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7e308, rng.uniform(-1e3, 1e3))
    ),
    FieldDescriptor.TYPE_ENUM: lambda rng: rng.choice((rng.randint(0, 4), rng.randint(-1, 12), _integer(rng, INT32))),
    FieldDescriptor.TYPE_INT32: lambda rng: _integer(rng, INT32),
    FieldDescriptor.TYPE_INT64: lambda rng: _integer(rng, INT64),
}


def places(message: Message) -> Iterator[tuple[Message, Any]]:
    """Yield every field of a message and of the messages in it, set or not; not those inside of lists."""
    for field in message.DESCRIPTOR.fields:
        yield message, field
        if field.message_type is not None and not field.is_repeated:
            yield from places(getattr(message, field.name))


def change(rng: Random, message: Message) -> None:
    """Change one field of a request, at any depth."""
    owner, field = rng.choice([*places(message)])
    part = getattr(owner, field.name)
    if rng.random() < 0.25:
        owner.ClearField(field.name)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        part.update({_text(rng): _text(rng) for _ in range(rng.randint(0, 34))})
    elif field.message_type is not None and field.is_repeated:
        entry = part.add()
        for inner in entry.DESCRIPTOR.fields:
            if inner.message_type is None and not inner.is_repeated:
                setattr(entry, inner.name, VALUES[inner.type](rng))
    elif field.message_type is not None:
        part.SetInParent()
    elif field.is_repeated:
        part.extend(VALUES[field.type](rng) for _ in range(rng.randint(0, 12)))
    else:
        setattr(owner, field.name, VALUES[field.type](rng))


def changed(rng: Random, name: str) -> bytes:
    """Return a request some fields of which are anything."""
    request = valid(name)
    for _ in range(rng.choice((1, 1, 2, 4))):
        change(rng, request)
    serialized: bytes = request.SerializeToString()
    return serialized


def scrambled(rng: Random, name: str) -> bytes:
    """Return a request some bytes of which are anything."""
    serialized = bytearray(_bytes(name))
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, len(serialized))
        serialized[place : place + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 3))
    return bytes(serialized)


def flipped(rng: Random, name: str) -> bytes:
    """Return a request with some bits turned."""
    serialized = bytearray(_bytes(name))
    for _ in range(rng.randint(1, 8)):
        serialized[rng.randrange(len(serialized))] ^= 1 << rng.randrange(8)
    return bytes(serialized)


def cut(rng: Random, name: str) -> bytes:
    """Return the beginning of a request."""
    serialized = _bytes(name)
    return serialized[: rng.randrange(len(serialized))]


def joined(rng: Random, name: str) -> bytes:
    """Return requests one behind the other, of this RPC and of others."""
    others = [_bytes(rng.choice([name, rng.choice([*VALID])])) for _ in range(rng.choice((1, 2, 50)))]
    return b"".join([_bytes(name), *others])


def noise(rng: Random, _name: str) -> bytes:
    """Return what was never a request."""
    return rng.choice((rng.randbytes(rng.randint(0, 64)), rng.randbytes(rng.randint(0, 4096)), rng.choice(PROTOCOLS)))


def unknown(rng: Random, name: str) -> bytes:
    """Return a request with fields that its type has not, there or in a message of it."""
    field = any_field(rng, rng.choice((rng.randint(1, 200), rng.randint(1, NUMBER_MAX), NUMBER_MAX)))
    return _bytes(name) + _inside(rng, name, field)


def nested(rng: Random, name: str) -> bytes:
    """Return a request with more levels than anybody needs, closed or left open."""
    depth, number = rng.choice(DEPTHS), rng.choice((1, 15, 2000))
    inner = tag(number, GROUP) * depth + tag(number, END) * rng.choice((depth, depth - 1, 0))
    if rng.random() < 0.5:
        inner = b""
        for _ in range(min(depth, 1000)):
            inner = bytes_field(number, inner)
    return _bytes(name) + _inside(rng, name, inner)


def repeated(rng: Random, name: str) -> bytes:
    """Return a request with a field that comes hundreds of times; in a map, with the same key."""
    fields = [field for field in VALID[name].DESCRIPTOR.fields if field.is_repeated]
    count = rng.choice((33, 101, 1500))
    if not fields:
        return _bytes(name) + bytes_field(rng.choice([*_texts(name)])[-1], b"o") * count
    field = rng.choice(fields)
    if field.message_type is None:
        return _bytes(name) + bytes_field(field.number, b"\x01" * count)
    entry = (bytes_field(1, b"key") + bytes_field(2, b"value")) * rng.choice((1, 3))
    return _bytes(name) + bytes_field(field.number, entry) * count


def overflown(rng: Random, name: str) -> bytes:
    """Return a request with a number, or a length, of too many digits."""
    digits = b"\xff" * rng.choice((4, 8, 9, 10, 11, 40)) + rng.choice((b"\x01", b"\x7f", b"\x00", b""))
    path = rng.choice([*_paths(VALID[name].DESCRIPTOR)])
    return _bytes(name) + _wrapped(path, tag(path[-1], rng.choice((VARINT, BYTES))) + digits)


def mistyped(rng: Random, name: str) -> bytes:
    """Return a request with a field in the wire format of another type."""
    path = rng.choice([*_paths(VALID[name].DESCRIPTOR)])
    return _bytes(name) + _wrapped(path, any_field(rng, path[-1]))


def not_utf8(rng: Random, name: str) -> bytes:
    """Return a request with a text that is none."""
    path = rng.choice([*_texts(name)])
    return _bytes(name) + _wrapped(path, bytes_field(path[-1], rng.choice(NOT_UTF8)))


def long(rng: Random, name: str) -> bytes:
    """Return a request with a text that is too long."""
    path = rng.choice([*_texts(name)])
    return _bytes(name) + _wrapped(path, bytes_field(path[-1], b"x" * rng.choice(TEXT_LENGTHS)))


MUTATORS: Sequence[Callable[[Random, str], bytes]] = (
    *(changed,) * 8,
    scrambled,
    flipped,
    cut,
    joined,
    noise,
    unknown,
    nested,
    repeated,
    overflown,
    mistyped,
    not_utf8,
    long,
)


def _bytes(name: str) -> bytes:
    return VALID[name].SerializeToString()


def _paths(message: Any, owners: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Yield the numbers on the way to every field of a type and of the types in it."""
    for field in message.fields:
        yield (*owners, field.number)
        if field.message_type is not None:
            yield from _paths(field.message_type, (*owners, field.number))


def _texts(name: str) -> Iterator[tuple[int, ...]]:
    """Yield the ways to the texts of a request, but for those in messages of it."""
    for field in VALID[name].DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield (field.number,)


def _wrapped(path: Sequence[int], content: bytes) -> bytes:
    """Put a field into the messages on the way to it."""
    for number in reversed(path[:-1]):
        content = bytes_field(number, content)
    return content


def _inside(rng: Random, name: str, content: bytes) -> bytes:
    """Put a field beside the others of a request, or into a message of it."""
    return _wrapped(rng.choice([*_paths(VALID[name].DESCRIPTOR)]), content)
