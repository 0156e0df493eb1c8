"""Where is a file between the child that renders it and a caller who reads it as slowly as it likes?

In memory while it is small, then in a temporary file without a name; a thread waits for the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

# What is kept in memory of each, and there may be as many as exports: most invoices are smaller.
MEMORY_BYTES_MAX = 4 * 1024 * 1024


class RenderedFile:
    """A file that is written, then read. `size` in bytes; `entries_done` executions are in it so far."""

    def __init__(self) -> None:
        """Begin with an empty one."""
        self.size = 0
        self.entries_done = 0
        self._spool = SpooledTemporaryFile(MEMORY_BYTES_MAX)  # noqa: SIM115 - it is open as long as this

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave nothing of it."""
        self._spool.close()

    async def append(self, content: bytes) -> None:
        """Write more of it."""
        await asyncio.to_thread(self._spool.write, content)
        self.size += len(content)

    async def replace(self, content: bytes) -> None:
        """Write another instead."""
        await asyncio.to_thread(self._rewind, empty=True)
        self.size = 0
        await self.append(content)

    async def content(self) -> bytes:
        """Return all of it."""
        await asyncio.to_thread(self._rewind)
        return await asyncio.to_thread(self._spool.read)

    async def contents(self, piece_bytes_max: int) -> AsyncGenerator[tuple[bytes, bool]]:
        """Yield all of it, piece by piece, each with whether it is the last; an empty file has one."""
        await asyncio.to_thread(self._rewind)
        left = self.size
        while True:
            content = await asyncio.to_thread(self._spool.read, piece_bytes_max)
            left -= len(content)
            yield content, not left
            if not left:
                return

    def _rewind(self, *, empty: bool = False) -> None:
        self._spool.seek(0)
        if empty:
            self._spool.truncate()
