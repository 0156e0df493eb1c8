"""Is there a request that the server stumbles over? Mutations of valid ones must all get a clear answer."""

from __future__ import annotations

from random import Random

import grpc
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .mutators import changed, scrambled
from .requests import VALID, full_name
from .wire import Wire

CLEAR = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    # Nobody makes or ends tokens on a server that asks for none.
    grpc.StatusCode.UNAUTHENTICATED,
    # More overrides than one organization may have.
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
PATIENT = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.sampled_from(sorted(VALID))
randoms = st.randoms(use_true_random=False)


def answer(wire: Wire, name: str, serialized: bytes) -> grpc.StatusCode:
    """Send bytes; return the status."""
    try:
        wire.send_raw(full_name(name), serialized)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


@settings(PATIENT, max_examples=400)
@given(name=names, rng=randoms)
def test_every_request_gets_a_clear_answer(wire: Wire, name: str, rng: Random) -> None:
    """Whatever a field holds, the answer is a verdict or says what is wrong; it is never INTERNAL."""
    assert answer(wire, name, changed(rng, name)) in CLEAR | {grpc.StatusCode.OK}


@settings(PATIENT, max_examples=200)
@given(name=names, rng=randoms)
def test_every_sequence_of_bytes_gets_a_clear_answer(wire: Wire, name: str, rng: Random) -> None:
    """Bytes that are no message are INVALID_ARGUMENT; those that are one by chance get its answer."""
    serialized = scrambled(rng, name)
    status = answer(wire, name, serialized)
    try:
        type(VALID[name]).FromString(serialized)
    except DecodeError:
        assert status == grpc.StatusCode.INVALID_ARGUMENT
    else:
        assert status in CLEAR | {grpc.StatusCode.OK}
