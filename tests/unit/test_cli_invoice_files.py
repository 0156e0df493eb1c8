"""What do invoice files leave behind when they are not finished, and what is said of those that are?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from gatekeeper.cli.invoice_files import FileFailed, write_files
from gatekeeper.cli.invoice_texts import seller_warning
from gatekeeper_client.v1.gatekeeper_service_pb2 import ExportInvoiceResponse
from gatekeeper_client.v1.invoice_pb2 import (
    INVOICE_KIND_CREDIT_NOTE,
    INVOICE_KIND_DRAFT,
    INVOICE_KIND_INVOICE,
    FileChunk,
    Invoice,
    InvoiceParty,
)


def responses(number: str, *, ended_by: signal.Signals | None = None) -> Iterator[ExportInvoiceResponse]:
    """Yield an invoice and its file; a signal comes in the middle of it."""
    yield ExportInvoiceResponse(invoice=Invoice(number=number))
    yield ExportInvoiceResponse(chunk=FileChunk(filename="invoice.json", data=b"{"))
    if ended_by is not None:
        os.kill(os.getpid(), ended_by)
    yield ExportInvoiceResponse(chunk=FileChunk(filename="invoice.json", data=b"}", last=True))


def tell(*_: Any) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_ends_the_command_finds_no_half_file(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM is an interrupt like Ctrl-C, and only while files are written."""
    before = signal.getsignal(signal.SIGTERM)
    # Whoever runs the tests may have had it ignored.
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_files(responses("2026-000001", ended_by=number), tmp_path, tell)
    finally:
        signal.signal(signal.SIGINT, interrupted)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    """Those of a process that runs are its own; so is what belongs to another file."""
    gone, running, foreign = (
        tmp_path / f".{name}.part"
        for name in ("invoice.json.4194999", f"invoice.json.{os.getppid()}", "a.json.4194999")
    )
    for leftover in (gone, running, foreign):
        leftover.touch()
    write_files(responses("2026-000001"), tmp_path, tell)
    assert {*tmp_path.iterdir()} == {tmp_path / "invoice.json", running, foreign}


def test_only_an_issued_invoice_stands(tmp_path: Path) -> None:
    """A draft that could not be written has no number to be found by."""
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        with pytest.raises(FileFailed, match=r"device$"):
            write_files(responses(""), tmp_path, tell)
        with pytest.raises(FileFailed, match=r"device\. The invoice stands"):
            write_files(responses("2026-000001"), tmp_path, tell)


def test_an_invoice_without_a_seller_is_warned_of() -> None:
    """It can be put right; a draft is not wrong yet, and a credit note no more."""
    issued = Invoice(kind=INVOICE_KIND_INVOICE, number="2026-000001", organization="acme")
    assert "set GATEKEEPER_SELLER_NAME" in seller_warning(issued)
    assert "`--credit 2026-000001`" in seller_warning(issued)
    for kind in (INVOICE_KIND_DRAFT, INVOICE_KIND_CREDIT_NOTE):
        assert seller_warning(Invoice(kind=kind)) == ""
    issued.seller.CopyFrom(InvoiceParty(legal_name="Gate & Co"))
    assert seller_warning(issued) == ""
