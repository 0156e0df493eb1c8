"""How is an invoice sent? First itself, then its files in pieces, and a sign of life meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TypeVar

from gatekeeper.domain.access import Actor
from gatekeeper.domain.errors import InvalidField
from gatekeeper.domain.invoice_formats import InvoiceFormat, file_name
from gatekeeper.services.invoice_files import InvoiceFiles, Piece
from gatekeeper.services.invoices import Invoices, Issued
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import invoice_pb2

from .invoices import write_issued
from .shares import Party, party
from .spend import read_month

FORMATS = {kind: invoice_pb2.InvoiceFormat.Value(f"INVOICE_FORMAT_{kind}") for kind in InvoiceFormat}
FORMAT_OF = {value: kind for kind, value in FORMATS.items()}
# Exports that are open at a time: each keeps an invoice's text, and a few MB of a file, for as long as it is read.
EXPORTS_MAX = 16
# Of one party: somebody who fetches a few months at once, and a quarter of what there is.
PARTY_EXPORTS_MAX = 4
# The boundary looks every two seconds at least whether the caller may still hear.
SIGN_OF_LIFE_S = 1.0
T = TypeVar("T")


class InvoiceExports:
    """Answers ExportInvoice."""

    def __init__(self, invoices: Invoices, files: InvoiceFiles) -> None:
        """Issue and render by these services."""
        self._invoices = invoices
        self._files = files

    async def messages(self, request: pb.ExportInvoiceRequest, actor: Actor) -> AsyncGenerator[bytes | None]:
        """Yield the invoice, then its files; None while there is neither."""
        async with aclosing(_while_waiting(self._begin(request, actor))) as beginning:
            async for begun in beginning:
                if begun is None:
                    yield None
        assert begun is not None
        message, outline = begun
        yield message
        of = party("ExportInvoice", actor.caller, request.organization)
        for value in request.formats:
            async with aclosing(self._chunks(outline, FORMAT_OF[value], of)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _begin(self, request: pb.ExportInvoiceRequest, actor: Actor) -> tuple[bytes, Issued]:
        """Return the invoice as it is sent, and what its files are rendered from."""
        issued = await self._find(request, actor)
        return pb.ExportInvoiceResponse(invoice=write_issued(issued)).SerializeToString(), _outline(issued)

    async def _find(self, request: pb.ExportInvoiceRequest, actor: Actor) -> Issued:
        """Return what is asked for, by its number or its month."""
        period = read_month(request.period)
        if not request.number:
            formats = [FORMAT_OF[value] for value in request.formats]
            return await self._invoices.of_month(
                request.organization, period, actor, draft=request.draft, formats=formats
            )
        issued = await self._invoices.find(request.organization, request.number)
        if period and period != issued.document.period:
            problem = f"is not the month of {request.number!r}, which is {issued.document.period}; name one of both"
            raise InvalidField(field="period", problem=problem)
        return issued

    async def _chunks(self, issued: Issued, kind: InvoiceFormat, of: Party) -> AsyncGenerator[bytes | None]:
        """Yield a file in pieces, rendered for a party."""
        name = file_name(issued.document, kind)
        async with aclosing(self._files.pieces(issued, kind, of)) as pieces:
            piece: Piece | None = None
            while piece is None or not piece.last:
                async with aclosing(_while_waiting(anext(pieces))) as waiting:
                    async for piece in waiting:
                        yield None if piece is None else _write_chunk(name, kind, piece)


def _outline(issued: Issued) -> Issued:
    """Return an invoice without what is long but its text, which says all of it to whoever renders."""
    document = replace(issued.document, lines=(), days=(), models=(), overrides=(), spans=())
    return replace(issued, document=document)


def _write_chunk(name: str, kind: InvoiceFormat, piece: Piece) -> bytes:
    chunk = invoice_pb2.FileChunk(
        format=FORMATS[kind], filename=name, data=piece.content, last=piece.last, entries_done=piece.entries_done
    )
    return pb.ExportInvoiceResponse(chunk=chunk).SerializeToString()


async def _while_waiting(awaited: Awaitable[T]) -> AsyncGenerator[T | None]:
    """Yield None every second until something is there, then that. Whoever stops listening ends it."""
    task = asyncio.ensure_future(_run(awaited))
    try:
        while not (await asyncio.wait({task}, timeout=SIGN_OF_LIFE_S))[0]:
            yield None
        yield task.result()
    finally:
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _run(awaited: Awaitable[T]) -> T:
    return await awaited
