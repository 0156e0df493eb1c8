"""How does a file come through a pipe together with how far it is, and with what went wrong?

In frames: what it is, how many executions are written, how long it is; then so many bytes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import IO, BinaryIO, NamedTuple

HEADER = struct.Struct(">cQI")
DATA, ERROR, END = b"d", b"e", b"."
# Well below the 1 MiB that a message may have, and what a pipe takes in a few turns.
FRAME_BYTES_MAX = 256 * 1024


class Frame(NamedTuple):
    """A piece of a file, or what is said of it."""

    kind: bytes
    entries_done: int
    content: bytes


class FrameWriter(io.RawIOBase):
    """What a file is written to: it sends frames."""

    def __init__(self, pipe: BinaryIO, entries_done: Callable[[], int]) -> None:
        """Send through a pipe; each frame says how many executions are done by then."""
        super().__init__()
        self._pipe = pipe
        self._entries_done = entries_done

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def write(self, content: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Send at most one frame; return how many bytes it took."""
        piece = bytes(memoryview(content)[:FRAME_BYTES_MAX])
        self.send(DATA, piece)
        return len(piece)

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send a frame."""
        self._pipe.write(HEADER.pack(kind, self._entries_done(), len(content)) + content)
        self._pipe.flush()


def read_frame(pipe: IO[bytes]) -> Frame:
    """Read a frame. Raises EOFError where the pipe ends before."""
    kind, entries_done, length = HEADER.unpack(_read(pipe, HEADER.size))
    return Frame(kind, entries_done, _read(pipe, length))


def _read(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content
