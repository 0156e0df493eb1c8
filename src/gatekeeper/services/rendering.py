"""How is a child that renders begun, heard and ended? In a thread of its own, which waits for it.

Not by the event loop: in a server that answers calls, the pipe to a child that uvloop had just begun was found closed
now and then.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

from .frames import Frame, read_frame

# How long a child may take between two frames: its first statement may add up ten million executions.
FRAME_TIMEOUT_S = 1800
# What a child says of its failure, at most, for the log.
COMPLAINT_BYTES_MAX = 16_384
# Secrets of ours that a child needs nothing of.
OURS = "GATEKEEPER_"
COMMAND = ("-P", "-m", "gatekeeper.services.rendering_child")


class ChildFailed(Exception):
    """A child ended before its file did; the message is for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """A child, and where what it complains of goes."""

    process: subprocess.Popen[bytes]
    complaint: IO[bytes]

    def read(self) -> Frame:
        """Return the next frame. Raises `ChildFailed`."""
        assert self.process.stdout is not None
        try:
            return read_frame(self.process.stdout)
        except EOFError:
            code = self.process.wait()
            self.complaint.seek(0)
            told = self.complaint.read(COMPLAINT_BYTES_MAX).decode(errors="replace")
            message = f"a child that renders ended with {code}: {told}"
            raise ChildFailed(message) from None

    def close(self) -> None:
        """Wait until it has ended, and leave nothing open."""
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.complaint.close()


class Child:
    """A child that renders, as the event loop sees it."""

    def __init__(self, thread: ThreadPoolExecutor, process: _Process) -> None:
        """Wait for it in this thread."""
        self._thread = thread
        self._process = process

    async def frame(self) -> Frame:
        """Return the next frame. Raises `ChildFailed`, or TimeoutError for one that says nothing for too long."""
        async with asyncio.timeout(FRAME_TIMEOUT_S):
            return await asyncio.wrap_future(self._thread.submit(self._process.read))


@asynccontextmanager
async def rendering(order: bytes) -> AsyncIterator[Child]:
    """Yield a child that has its order; it ends with the block, whatever it is doing."""
    thread = ThreadPoolExecutor(1, "rendering")
    begun = thread.submit(_begin, order)
    try:
        yield Child(thread, await asyncio.wrap_future(begun))
    finally:
        # At once, or as soon as it is there: what the thread waits for ends with it.
        begun.add_done_callback(_kill)
        await asyncio.wrap_future(thread.submit(_close, begun))
        thread.shutdown(wait=False)


def _begin(order: bytes) -> _Process:
    complaint = TemporaryFile()  # noqa: SIM115 - it is open as long as the child
    process = subprocess.Popen(
        [sys.executable, *COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaint,
        env={name: value for name, value in os.environ.items() if not name.startswith(OURS)},
    )
    assert process.stdin is not None
    # One that ends before it has read says why by itself.
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(order)
    return _Process(process=process, complaint=complaint)


def _begun(begun: Future[_Process]) -> _Process | None:
    return None if begun.cancelled() or begun.exception() else begun.result()


def _kill(begun: Future[_Process]) -> None:
    if (child := _begun(begun)) is not None:
        child.process.kill()


def _close(begun: Future[_Process]) -> None:
    if (child := _begun(begun)) is not None:
        child.close()
