"""How is one call made and waited for, without a gRPC client?"""

from __future__ import annotations

import socket
from typing import Final

from benchmarks.http2 import ConnectionLostError, Wire, framed

PATIENCE_S: Final = 20.0


class CallFailedError(Exception):
    """The server answered without a message; carries what can be read of its trailer."""


def call(port: int, path: bytes, message: bytes) -> bytes:
    """Send one message to a server on this machine; return the answer.

    Raises `CallFailedError` on any status but OK, `OSError` when there is no server.
    """
    wire = Wire(b"127.0.0.1:%d" % port)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        wire.request(path, framed(message))
        while True:
            connection.sendall(wire.outgoing())
            for answer in wire.receive(connection.recv(2**16)):
                if answer.message is None:
                    raise CallFailedError(answer.trailer)
                return answer.message


__all__ = ["CallFailedError", "ConnectionLostError", "call"]
