"""How is an invoice rendered? By this program, in a process of its own.

A long PDF takes a processor for seconds. In the server's process every call would wait for the interpreter meanwhile;
here it has a low priority, and ends with whoever asked. What it is to do comes by standard input, for anybody may read
arguments; the file goes to standard output, in frames.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TypeVar, cast
from zoneinfo import ZoneInfo

from gatekeeper.domain.errors import BillingIncomplete, FormatUnavailable
from gatekeeper.domain.invoice_formats import InvoiceFormat
from gatekeeper.domain.invoices import InvoiceDocument
from gatekeeper.invoicing import canonical
from gatekeeper.storage.connections import Connection
from gatekeeper.storage.invoice_sums import DailyCost, read_daily, read_executions, snapshot

from .frames import END, ERROR, FRAME_BYTES_MAX, FrameWriter

# Calls come first.
NICENESS = 19
T = TypeVar("T")


class Rendering:
    """A file that is being written, and how many executions are in it so far."""

    def __init__(self, document: InvoiceDocument, database_url: str) -> None:
        """Render this document; read executions from this database."""
        self.entries_done = 0
        self._document = document
        self._database_url = database_url

    def write(self, kind: InvoiceFormat, out: BinaryIO) -> None:
        """Write the file. Raises `BillingIncomplete` or `FormatUnavailable`. A renderer is loaded only if needed."""
        document = self._document
        if kind is InvoiceFormat.JSON:
            from gatekeeper.invoicing import json_file

            json_file.write(document, out)
        elif kind is InvoiceFormat.PDF:
            from gatekeeper.invoicing import pdf

            pdf.render(document, out)
        elif kind in (InvoiceFormat.CSV, InvoiceFormat.CSV_LINES):
            self._write_csv(kind, out)
        elif kind is InvoiceFormat.FOCUS:
            self._write_focus(out)
        else:
            out.write(_electronic(document, kind))

    def _write_csv(self, kind: InvoiceFormat, out: BinaryIO) -> None:
        from gatekeeper.invoicing import csv_files

        if kind is InvoiceFormat.CSV_LINES:
            csv_files.write_lines(self._document, out)
            return
        with self._reading() as (loop, connection):
            executions = read_executions(connection, self._document.organization, self._document.spans)
            csv_files.write_executions(self._document, self._counted(loop, executions), out)

    def _write_focus(self, out: BinaryIO) -> None:
        from gatekeeper.invoicing import focus

        def charge(cost: DailyCost) -> focus.FocusCharge:
            return focus.FocusCharge(
                day=cost.day,
                period=cost.period,
                late=cost.period != self._document.period,
                department=cost.department,
                campaign=cost.campaign,
                agent=cost.agent,
                agent_type=cost.agent_type,
                model=cost.model,
                calls=cost.calls,
                input_tokens=cost.input_tokens,
                output_tokens=cost.output_tokens,
                cost=cost.cost,
            )

        with self._reading() as (loop, connection):
            daily = read_daily(connection, self._document.organization, self._document.spans)
            zone = ZoneInfo(self._document.time_zone)
            focus.write(self._document, map(charge, self._counted(loop, daily)), out, zone=zone)

    @contextmanager
    def _reading(self) -> Iterator[tuple[asyncio.AbstractEventLoop, Connection]]:
        """Yield a connection, and the loop that it lives in."""
        with asyncio.Runner() as runner:
            loop, opened = runner.get_loop(), snapshot(self._database_url)
            connection = runner.run(opened.__aenter__())
            try:
                yield loop, connection
            finally:
                runner.run(opened.__aexit__(None, None, None))

    def _counted(self, loop: asyncio.AbstractEventLoop, found: AsyncIterator[Sequence[T]]) -> Iterator[T]:
        """Yield what comes some together, and count it."""
        while (rows := loop.run_until_complete(_next(found))) is not None:
            for row in rows:
                self.entries_done += row.entries if isinstance(row, DailyCost) else 1
                yield row


async def _next(found: AsyncIterator[Sequence[T]]) -> Sequence[T] | None:
    return await anext(found, None)


def _electronic(document: InvoiceDocument, kind: InvoiceFormat) -> bytes:
    from gatekeeper.invoicing import einvoice

    if kind is InvoiceFormat.UBL:
        return einvoice.ubl(document)
    if kind is InvoiceFormat.CII:
        return einvoice.cii(document)
    from gatekeeper.invoicing import pdf

    rendered = io.BytesIO()
    pdf.render(document, rendered)
    return einvoice.factur_x(rendered.getvalue(), document)


def main() -> None:
    """Render what standard input asks for."""
    os.nice(NICENESS)
    order = json.loads(sys.stdin.buffer.read())
    # What a library prints must not get between the frames.
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    rendering = Rendering(canonical.from_text(order["document"]), order["database_url"])
    frames = FrameWriter(pipe, lambda: rendering.entries_done)
    try:
        with io.BufferedWriter(cast("io.RawIOBase", frames), FRAME_BYTES_MAX) as out:
            rendering.write(InvoiceFormat(order["format"]), cast("BinaryIO", out))
            out.flush()
            frames.send(END)
    except (BillingIncomplete, FormatUnavailable) as error:
        frames.send(ERROR, json.dumps({"error": type(error).__name__, "metadata": error.metadata}).encode())


if __name__ == "__main__":
    main()
