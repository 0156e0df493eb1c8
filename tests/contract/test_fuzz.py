"""Is there a request that the server stumbles over? Mutations of valid ones must all get a clear answer."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .requests import VALID, full_name, valid
from .wire import Wire

CLEAR = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
}
PATIENT = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.sampled_from(sorted(VALID))
words = ("", "o", "i", "r", "c", "USD", "2026-11-20", "2026-02-30", "total", "claude-sonnet-4-5")
texts = st.sampled_from(words) | st.text(max_size=140)
INT32, INT64 = 2**31, 2**63
edges = (-1, 0, 1, 2, 3, 99, 1000, 10**9, 10**12 - 1, 10**12)
VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: texts,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_ENUM: st.integers(-1, 6) | st.integers(-INT32, INT32 - 1),
    FieldDescriptor.TYPE_INT32: st.sampled_from([e for e in edges if e < INT32]) | st.integers(-INT32, INT32 - 1),
    FieldDescriptor.TYPE_INT64: st.sampled_from(edges) | st.integers(-INT64, INT64 - 1),
}


def places(message: Message) -> list[tuple[Message, Any]]:
    """Return every field of a message and of the messages in it, set or not; not those inside of lists."""
    found: list[tuple[Message, Any]] = []
    for field in message.DESCRIPTOR.fields:
        found.append((message, field))
        if field.message_type is not None and not field.is_repeated:
            found += places(getattr(message, field.name))
    return found


def mutate(draw: Any, message: Message) -> None:
    """Change one field of a request, at any depth."""
    owner, field = draw(st.sampled_from(places(message)))
    if draw(st.booleans()) and field.message_type is not None and not field.is_repeated:
        getattr(owner, field.name).SetInParent()
    elif draw(st.integers(0, 3)) == 0:
        owner.ClearField(field.name)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(owner, field.name).update(draw(st.dictionaries(texts, texts, max_size=34)))
    elif field.message_type is not None and field.is_repeated:
        getattr(owner, field.name).add(kind=draw(VALUES[FieldDescriptor.TYPE_ENUM]), id=draw(texts))
    elif field.is_repeated:
        getattr(owner, field.name).extend(draw(st.lists(VALUES[field.type], max_size=12)))
    elif field.message_type is None:
        setattr(owner, field.name, draw(VALUES[field.type]))


@st.composite
def requests(draw: Any) -> tuple[str, Message]:
    """Draw an RPC and a request for it, some fields of which are anything."""
    name = draw(names)
    request = valid(name)
    for _ in range(draw(st.integers(1, 4))):
        mutate(draw, request)
    return name, request


@st.composite
def scrambled(draw: Any) -> tuple[str, bytes]:
    """Draw an RPC and a request for it, some bytes of which are anything."""
    name = draw(names)
    serialized = bytearray(valid(name).SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(serialized)))
        serialized[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return name, bytes(serialized)


def answer(wire: Wire, name: str, serialized: bytes) -> grpc.StatusCode:
    """Send bytes; return the status."""
    try:
        wire.send_raw(full_name(name), serialized)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


@settings(PATIENT, max_examples=400)
@given(request=requests())
def test_every_request_gets_a_clear_answer(wire: Wire, request: tuple[str, Message]) -> None:
    """Whatever a field holds, the answer is a verdict or says what is wrong; it is never INTERNAL."""
    name, message = request
    assert answer(wire, name, message.SerializeToString()) in CLEAR | {grpc.StatusCode.OK}


@settings(PATIENT, max_examples=200)
@given(request=scrambled())
def test_every_sequence_of_bytes_gets_a_clear_answer(wire: Wire, request: tuple[str, bytes]) -> None:
    """Bytes that are no message are INVALID_ARGUMENT; those that are one by chance get its answer."""
    name, serialized = request
    status = answer(wire, name, serialized)
    try:
        type(VALID[name]).FromString(serialized)
    except DecodeError:
        assert status == grpc.StatusCode.INVALID_ARGUMENT
    else:
        assert status in CLEAR | {grpc.StatusCode.OK}
