"""What becomes of a child that renders, when its caller leaves or when it fails?"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from gatekeeper.domain.invoice_formats import InvoiceFormat, file_name, is_kept
from gatekeeper.domain.invoices import Billed, Branding, Heading, InvoiceKind, Party, Terms, bill
from gatekeeper.invoicing import canonical
from gatekeeper.services.invoice_files import InvoiceFiles, Piece
from gatekeeper.services.invoices import Issued
from gatekeeper.services.rendering import ChildFailed

NOTHING: Any = None


def draft(number: str = "", kind: InvoiceKind = InvoiceKind.DRAFT) -> Issued:
    """Return an invoice over nothing."""
    heading = Heading(
        number=number,
        kind=kind,
        organization="acme",
        period="2026-11",
        issued_at=datetime(2026, 11, 30, tzinfo=UTC),
        issue_date=date(2026, 11, 30),
        currency="USD",
        seller=Party(),
        terms=Terms(buyer=Party()),
        branding=Branding(),
    )
    billed = Billed(spans=(), charges=(), days=(), models=(), overrides=(), entries=0, ledger_hash="")
    document = bill(heading, billed)
    assert document.total_amount == Decimal(0)
    return Issued(document=document, text=canonical.to_text(document), content_hash=b"")


async def render(issued: Issued, *, first_only: bool = False) -> list[Piece]:
    """Render it as JSON."""
    files = InvoiceFiles(reads=NOTHING, writes=NOTHING, database_url="postgresql://unused")
    async with aclosing(files.pieces(issued, InvoiceFormat.JSON)) as pieces:
        return [await anext(pieces)] if first_only else [piece async for piece in pieces]


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Let a shell script be what renders."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_draft_is_rendered_in_a_process_of_its_own() -> None:
    """Its file comes in pieces, the last one marked."""
    pieces = asyncio.run(render(draft()))
    assert b'"period": "2026-11"' in b"".join(piece.content for piece in pieces)
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_a_child_ends_with_its_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever goes away does not leave a process behind."""
    pid = tmp_path / "pid"
    stand_in(monkeypatch, tmp_path, f"cat > /dev/null; echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60")

    async def leave() -> int:
        task = asyncio.create_task(render(draft(), first_only=True))
        while not pid.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return int(pid.read_text())

    assert not psutil.pid_exists(asyncio.run(leave()))


def test_what_a_child_dies_of_is_for_the_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its exit code; it says nothing that a caller is told."""
    stand_in(monkeypatch, tmp_path, "cat > /dev/null; echo no such font >&2; exit 3")
    with pytest.raises(ChildFailed, match="ended with 3: no such font"):
        asyncio.run(render(draft()))


def test_names_of_files() -> None:
    """They say what it is, and of which number or month; what is long or may change is not kept."""
    issued = draft("2026-000007", InvoiceKind.CREDIT_NOTE).document
    assert file_name(issued, InvoiceFormat.PDF) == "credit-note-2026-000007.pdf"
    assert file_name(draft().document, InvoiceFormat.CSV) == "draft-2026-11-executions.csv"
    assert [kind for kind in InvoiceFormat if not is_kept(issued, kind)] == [InvoiceFormat.CSV, InvoiceFormat.FOCUS]
    assert not any(is_kept(draft().document, kind) for kind in InvoiceFormat)
