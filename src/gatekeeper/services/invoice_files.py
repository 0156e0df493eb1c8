"""How does an invoice become a file, without the server's process rendering it?

By a child of its own each (`rendering_child`). What is kept of an issued invoice is rendered once: whoever asks again
gets the same bytes, whatever version of the software has come since.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Coroutine, Hashable
from contextlib import aclosing
from typing import Any, NamedTuple

from gatekeeper.domain import errors
from gatekeeper.domain.errors import GatekeeperError
from gatekeeper.domain.invoice_formats import InvoiceFormat, is_kept
from gatekeeper.storage import invoices as storage
from gatekeeper.storage.connections import Pool, wrap_errors

from .frames import END, ERROR, FRAME_BYTES_MAX, Frame
from .invoices import Issued
from .rendered_file import RenderedFile
from .rendering import rendering
from .rendering_places import RenderingPlaces

# How often at most a caller is told how far a file is.
PROGRESS_INTERVAL_S = 0.5
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
        self.places = RenderingPlaces()
        self._reads = reads
        self._writes = writes
        self._database_url = database_url

    async def pieces(self, issued: Issued, kind: InvoiceFormat, party: Hashable = None) -> AsyncGenerator[Piece]:
        """Yield a file of an invoice, piece by piece; empty ones tell how far it is. One of a party renders at a time.

        It is rendered whether or not somebody takes the pieces. Raises `BillingIncomplete`, `FormatUnavailable` or
        `QueueFull`.
        """
        with RenderedFile() as file:
            async with aclosing(_progress(file, self._fill(file, issued, kind, party))) as progress:
                async for entries_done in progress:
                    yield Piece(b"", entries_done, last=False)
            async for content, last in file.contents(FRAME_BYTES_MAX):
                yield Piece(content, file.entries_done, last)

    async def _fill(self, file: RenderedFile, issued: Issued, kind: InvoiceFormat, party: Hashable) -> None:
        """Write a file as it was first rendered; render it, if this is the first time or it is not kept."""
        if not is_kept(issued.document, kind):
            await self._render(file, issued, kind, party)
            return
        key = (issued.document.organization, issued.document.number, kind.value)
        if (kept := await self._find(key)) is None:
            await self._render(file, issued, kind, party)
            if file.size > KEPT_BYTES_MAX:
                return
            kept = await self._keep(key, await file.content())
        await file.replace(kept)

    async def _keep(self, key: tuple[str, str, str], content: bytes) -> bytes:
        """Keep a file; return what is kept: somebody else may have been first."""
        with wrap_errors():
            async with self._writes.connection() as connection:
                await storage.keep_file(connection, key, content, hashlib.sha256(content).digest())
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

    async def _render(self, file: RenderedFile, issued: Issued, kind: InvoiceFormat, party: Hashable) -> None:
        """Write a file as a child renders it, which has its place only for so long."""
        async with self.places.place(party):
            order = {"document": issued.text, "database_url": self._database_url, "format": kind}
            async with rendering(json.dumps(order).encode()) as child:
                while (frame := await child.frame()).kind != END:
                    if frame.kind == ERROR:
                        raise _told(frame)
                    await file.append(frame.content)
                    file.entries_done = frame.entries_done
                file.entries_done = frame.entries_done


async def _progress(file: RenderedFile, filling: Coroutine[Any, Any, None]) -> AsyncGenerator[int]:
    """Yield how many executions are in a file, each time that they have become more, until it is full."""
    task = asyncio.create_task(filling)
    told = 0
    try:
        while not (await asyncio.wait({task}, timeout=PROGRESS_INTERVAL_S))[0]:
            if file.entries_done > told:
                told = file.entries_done
                yield told
        await task
    finally:
        # Whoever listened has left, and with it ends what it asked for.
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()


def _told(frame: Frame) -> GatekeeperError:
    told = json.loads(frame.content)
    return TOLD[told["error"]](**told["metadata"])
