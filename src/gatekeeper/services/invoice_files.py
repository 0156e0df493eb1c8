"""How does an invoice become a file, without the server's process rendering it?

By a child of its own each (`rendering_child`). What is kept of an issued invoice is rendered once: whoever asks again
gets the same bytes, whatever version of the software has come since.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from gatekeeper.domain import errors
from gatekeeper.domain.errors import GatekeeperError
from gatekeeper.domain.invoice_formats import InvoiceFormat, is_kept
from gatekeeper.storage import invoices as storage
from gatekeeper.storage.connections import Pool, wrap_errors

from .frames import END, ERROR, FRAME_BYTES_MAX, Frame
from .invoices import Issued
from .rendering import rendering

# Children at a time: each takes a processor, some 100 MB, and a connection if it reads executions.
CHILDREN_MAX = 2
# What is kept of a file at most; one that is larger is rendered anew each time.
KEPT_BYTES_MAX = 32 * 1024 * 1024
TOLD = {error.__name__: error for error in (errors.BillingIncomplete, errors.FormatUnavailable)}


class Piece(NamedTuple):
    """The next bytes of a file, and how many executions are in it so far."""

    content: bytes
    entries_done: int
    last: bool


class InvoiceFiles:
    """Renders invoices, or finds what was rendered before."""

    def __init__(self, *, reads: Pool, writes: Pool, database_url: str) -> None:
        """Keep files by these pools; children read executions from the database by themselves."""
        self._reads = reads
        self._writes = writes
        self._database_url = database_url
        self._children = asyncio.Semaphore(CHILDREN_MAX)

    async def pieces(self, issued: Issued, kind: InvoiceFormat) -> AsyncGenerator[Piece]:
        """Yield a file of an invoice, piece by piece. Raises `BillingIncomplete` or `FormatUnavailable`."""
        if not is_kept(issued.document, kind):
            async with aclosing(self._rendered(issued, kind)) as frames:
                async for frame in frames:
                    yield Piece(frame.content, frame.entries_done, frame.kind == END)
            return
        content = await self._kept(issued, kind)
        for start in range(0, len(content) or 1, FRAME_BYTES_MAX):
            end = start + FRAME_BYTES_MAX
            yield Piece(content[start:end], 0, end >= len(content))

    async def _kept(self, issued: Issued, kind: InvoiceFormat) -> bytes:
        """Return a file as it was first rendered; render it, if this is the first time."""
        key = (issued.document.organization, issued.document.number, kind.value)
        if (kept := await self._find(key)) is not None:
            return kept
        async with aclosing(self._rendered(issued, kind)) as frames:
            content = b"".join([frame.content async for frame in frames])
        if len(content) > KEPT_BYTES_MAX:
            return content
        with wrap_errors():
            async with self._writes.connection() as connection:
                await storage.keep_file(connection, key, content, hashlib.sha256(content).digest())
        # Somebody else may have been first.
        kept = await self._find(key)
        assert kept is not None
        return kept

    async def _find(self, key: tuple[str, str, str]) -> bytes | None:
        with wrap_errors():
            async with self._reads.connection() as connection:
                found = await storage.find_file(connection, key)
        if found is None:
            return None
        content, content_hash = found
        if hashlib.sha256(content).digest() != content_hash:
            message = f"the {key[2]} of invoice {key[1]} is not what was rendered: it does not fit its hash"
            raise RuntimeError(message)
        return content

    async def _rendered(self, issued: Issued, kind: InvoiceFormat) -> AsyncGenerator[Frame]:
        """Yield the frames of a file as a child renders it, the last one of kind END."""
        order = {"document": issued.text, "database_url": self._database_url, "format": kind}
        async with self._children, rendering(json.dumps(order).encode()) as child:
            while True:
                frame = await child.frame()
                if frame.kind == ERROR:
                    raise _told(frame)
                yield frame
                if frame.kind == END:
                    return


def _told(frame: Frame) -> GatekeeperError:
    told = json.loads(frame.content)
    return TOLD[told["error"]](**told["metadata"])
