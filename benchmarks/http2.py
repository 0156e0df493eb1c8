"""How does a unary gRPC call look on the wire, at the least cost for who sends it?

A real gRPC client costs about as much as the server that it would measure. This one knows only what a
closed loop of unary calls needs: it keeps the header blocks ready, reads nine bytes a frame, and decodes no header.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD: Final = struct.Struct(">HBBBI")  # length (16 + 8 bits), type, flags, stream
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
PREFIX_BYTES: Final = 5  # of a gRPC message: whether it is compressed, and its length
DEFAULT_WINDOW_BYTES: Final = 65_535
RECEIVE_WINDOW_BYTES: Final = 2**30  # so that the server never waits for us
RENEW_AFTER_BYTES: Final = 2**28

STATIC_FIELDS: Final = {(b":method", b"POST"): 3, (b":scheme", b"http"): 6, (b":scheme", b"https"): 7}
STATIC_NAMES: Final = {b":authority": 1, b":path": 4, b"content-type": 31}
FIRST_DYNAMIC: Final = 62


class ConnectionLostError(Exception):
    """The server closed the connection or spoke something else than HTTP/2."""


class Answer(NamedTuple):
    """The end of one call: its message without the gRPC prefix, or None when there is no message (an error).

    A tuple, because a frozen dataclass takes a microsecond to make.
    """

    stream: int
    message: bytes | None
    trailer: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame; its payload stays below 64 KiB."""
    return FRAME_HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def framed(message: bytes) -> bytes:
    """Return the message with its gRPC prefix: not compressed, length."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def spelled(name: bytes, value: bytes) -> bytes:
    """Return a header that neither end keeps in its table; both parts stay below 127 bytes."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


class HeaderBlocks:
    """The request headers by path, as gRPC's own clients send them.

    They are spelled out at first use, then by index; but for the token, which is spelled out with every call.
    """

    def __init__(self, authority: bytes, scheme: bytes, token: bytes) -> None:
        """Begin with an empty table, as every connection does. Without a token, none is sent."""
        self._authority = authority
        self._scheme = scheme
        self._credentials = spelled(b"authorization", b"Bearer " + token) if token else b""
        self._table: list[tuple[bytes, bytes]] = []
        self._blocks: dict[bytes, bytes] = {}

    def block(self, path: bytes) -> bytes:
        """Return the header block for a call of this path; to be sent in the order of the calls."""
        return self._blocks.get(path) or self._encoded(path)

    def _encoded(self, path: bytes) -> bytes:
        known = len(self._table)
        block = b"".join(self._field(name, value) for name, value in self._headers(path)) + self._credentials
        if len(self._table) > known:
            self._blocks.clear()  # the indices of all older entries have moved
        else:
            self._blocks[path] = block
        return block

    def _headers(self, path: bytes) -> tuple[tuple[bytes, bytes], ...]:
        return (
            (b":method", b"POST"),
            (b":scheme", self._scheme),
            (b":path", path),
            (b":authority", self._authority),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )

    def _field(self, name: bytes, value: bytes) -> bytes:
        if (name, value) in STATIC_FIELDS:
            return bytes([0x80 | STATIC_FIELDS[name, value]])
        if (name, value) in self._table:
            return bytes([0x80 | FIRST_DYNAMIC + self._table.index((name, value))])
        self._table.insert(0, (name, value))
        index = STATIC_NAMES.get(name, 0)
        unknown = b"" if index else bytes([len(name)]) + name
        return bytes([0x40 | index]) + unknown + bytes([len(value)]) + value


class Wire:
    """One connection without its socket: requests in, bytes out; bytes in, answers out."""

    def __init__(self, authority: bytes, scheme: bytes = b"http", token: bytes = b"") -> None:
        """Queue the connection's preface. Each call brings the token, if there is one."""
        self._blocks = HeaderBlocks(authority, scheme, token)
        self._unsent = [PREFACE, self._settings(), self._renewal(RECEIVE_WINDOW_BYTES)]
        self._held: deque[tuple[int, bytes]] = deque()  # (flow-controlled bytes, frames), when the window is used up
        self._next_stream = 1
        self._window_bytes = DEFAULT_WINDOW_BYTES
        self._received_bytes = 0
        self._rest = b""
        self._messages: dict[int, bytes] = {}
        self.streams_max = 2**31

    def request(self, path: bytes, body: bytes) -> int:
        """Queue a call with this framed message and return its stream."""
        stream = self._next_stream
        self._next_stream = stream + 2
        number = stream.to_bytes(4, "big")
        block = self._blocks.block(path)
        frames = b"%b\1\4%b%b%b\0\1%b%b" % (
            len(block).to_bytes(3, "big"), number, block, len(body).to_bytes(3, "big"), number, body,
        )  # fmt: skip
        if self._held or self._window_bytes < len(body):
            self._held.append((len(body), frames))
        else:
            self._window_bytes -= len(body)
            self._unsent.append(frames)
        return stream

    def outgoing(self) -> bytes:
        """Return, once, the bytes that are to be sent now."""
        joined = b"".join(self._unsent)
        self._unsent.clear()
        return joined

    def receive(self, chunk: bytes) -> list[Answer]:
        """Take received bytes; return the calls that they end."""
        if not chunk:
            raise ConnectionLostError
        answers: list[Answer] = []
        received = self._rest + chunk
        at, end = 0, len(received)
        while end - at >= FRAME_HEAD.size:
            high, low, kind, flags, stream = FRAME_HEAD.unpack_from(received, at)
            begin = at + FRAME_HEAD.size
            stop = begin + (high << 8 | low)
            if stop > end:
                break
            if kind == DATA:
                self._messages[stream] = self._messages.get(stream, b"") + received[begin:stop]
                self._received_bytes += stop - begin
            elif kind == HEADERS:
                if flags & END_STREAM:
                    answers.append(self._ended(stream, received[begin:stop]))
            else:
                self._control(kind, flags, stream, received[begin:stop], answers)
            at = stop
        self._rest = received[at:]
        self._renew()
        return answers

    def came(self, stream: int) -> list[int]:
        """Return, once, the sizes of the whole messages that have come of a call that goes on answering."""
        received = self._messages.get(stream, b"")
        sizes, at = [], 0
        while len(received) - at >= PREFIX_BYTES:
            size = int.from_bytes(received[at + 1 : at + PREFIX_BYTES], "big")
            if len(received) - at < PREFIX_BYTES + size:
                break
            sizes.append(size)
            at += PREFIX_BYTES + size
        self._messages[stream] = received[at:]
        return sizes

    def _ended(self, stream: int, trailer: bytes) -> Answer:
        body = self._messages.pop(stream, None)
        return Answer(stream, None if body is None else body[PREFIX_BYTES:], trailer)

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, answers: list[Answer]) -> None:
        if kind == WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind == PING and not flags & ACK:
            self._unsent.append(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._adopt(payload)
            self._unsent.append(frame(SETTINGS, ACK, 0))
        elif kind == RST_STREAM:
            self._messages.pop(stream, None)
            answers.append(Answer(stream, None, b"RST_STREAM " + payload.hex().encode()))
        elif kind == GOAWAY:
            raise ConnectionLostError(payload[8:].decode(errors="replace"))

    def _adopt(self, settings: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", settings):
            if name == MAX_CONCURRENT_STREAMS:
                self.streams_max = value

    def _widen(self, stream: int, increment: int) -> None:
        if stream == 0:  # one message is far below a stream's own window
            self._window_bytes += increment
        while self._held and self._window_bytes >= self._held[0][0]:
            size, frames = self._held.popleft()
            self._window_bytes -= size
            self._unsent.append(frames)

    def _renew(self) -> None:
        if self._received_bytes >= RENEW_AFTER_BYTES:
            self._unsent.append(self._renewal(self._received_bytes))
            self._received_bytes = 0

    @staticmethod
    def _renewal(increment: int) -> bytes:
        return frame(WINDOW_UPDATE, 0, 0, increment.to_bytes(4, "big"))

    @staticmethod
    def _settings() -> bytes:
        return frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, RECEIVE_WINDOW_BYTES))
