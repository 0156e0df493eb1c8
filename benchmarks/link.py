"""How is a server on this machine reached, with or without TLS, and what is under way there?"""

from __future__ import annotations

import re
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.http2 import Wire
from benchmarks.plan import NOBODY

if TYPE_CHECKING:
    from benchmarks.http2 import Answer
    from benchmarks.plan import Credentials

HOST: Final = "127.0.0.1"
RECEIVE_BYTES: Final = 2**15  # a larger buffer would be mapped, and faulted in, for each read
SILENCE_S: Final = 10  # after which the calls still in flight are given up
TIMEVAL: Final = struct.Struct("@ll")


@dataclass(slots=True)
class Flight:
    """A call under way: which chain, how far, since when."""

    number: int = -1
    step: int = 0
    reservation_id: bytes = b""
    started_ns: int = 0


class Link:
    """A connection and what is in flight on it."""

    def __init__(self, port: int, credentials: Credentials = NOBODY) -> None:
        """Connect to a port of this machine. Raises `OSError`."""
        plain = socket.create_connection((HOST, port), timeout=SILENCE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = _secured(plain, credentials) if credentials.ca_file else plain
        # By the kernel, as Python's own timeout would poll before each read.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(SILENCE_S, 0))
        scheme = b"https" if credentials.ca_file else b"http"
        self.wire = Wire(f"{HOST}:{port}".encode(), scheme, credentials.token.encode())
        self.flights: dict[int, Flight] = {}

    def fileno(self) -> int:
        """Return what can be waited for."""
        return self._socket.fileno()

    def flush(self) -> None:
        """Send what is queued; the socket's buffer holds far more than 64 small requests."""
        outgoing = self.wire.outgoing()
        if outgoing:
            self._socket.sendall(outgoing)

    def receive(self) -> list[Answer]:
        """Wait for bytes; return the calls that they end.

        Over TLS a read takes one record, and never more than fits: nothing stays behind that nobody waits for.
        """
        return self.wire.receive(self._socket.recv(RECEIVE_BYTES))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def readable(trailer: bytes) -> str:
    """Return what can be read of a header block that nobody decodes."""
    return re.sub(r"[^ -~]+", " ", trailer.decode("latin-1")).strip()


def _secured(plain: socket.socket, credentials: Credentials) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=credentials.ca_file)
    context.set_alpn_protocols(["h2"])
    if credentials.certificate_file:
        context.load_cert_chain(credentials.certificate_file, credentials.key_file)
    return context.wrap_socket(plain, server_hostname=HOST)
