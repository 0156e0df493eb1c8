"""How is one call made and waited for, without a gRPC client?"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from benchmarks.http2 import ConnectionLostError, framed
from benchmarks.link import Link
from benchmarks.plan import NOBODY

if TYPE_CHECKING:
    from benchmarks.plan import Credentials


class CallFailedError(Exception):
    """The server answered without a message; carries what can be read of its trailer."""


def call(port: int, path: bytes, message: bytes, credentials: Credentials = NOBODY) -> bytes:
    """Send one message to a server on this machine; return the answer.

    Raises `CallFailedError` on any status but OK, `OSError` when there is no server.
    """
    with contextlib.closing(Link(port, credentials)) as link:
        link.wire.request(path, framed(message))
        while True:
            link.flush()
            for answer in link.receive():
                if answer.message is None:
                    raise CallFailedError(answer.trailer)
                return answer.message


__all__ = ["CallFailedError", "ConnectionLostError", "call"]
