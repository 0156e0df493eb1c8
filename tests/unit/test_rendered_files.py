"""What do readers who take their time keep from others who want a file? Nothing: it is rendered without them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from gatekeeper.domain import errors
from gatekeeper.domain.invoice_formats import InvoiceFormat
from gatekeeper.services import rendered_file, rendering_places
from gatekeeper.services.invoice_files import InvoiceFiles, Piece
from gatekeeper.services.rendered_file import RenderedFile
from gatekeeper.services.rendering_places import CHILDREN_MAX, RenderingPlaces
from tests.unit.test_invoice_files import draft, stand_in

NOTHING: Any = None
TIMEOUT_S = 20
# A frame of three bytes with 7 executions done; once there is a file `go`, the end, with 9.
TWO_FRAMES = r"""cat > /dev/null
printf 'd\000\000\000\000\000\000\000\007\000\000\000\003abc'
while [ ! -e {go} ]; do sleep 0.01; done
printf '.\000\000\000\000\000\000\000\011\000\000\000\000'"""


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test that ends."""

    async def soon() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await test

    asyncio.run(soon())


def invoice_files() -> InvoiceFiles:
    """Return what renders drafts, without a database."""
    return InvoiceFiles(reads=NOTHING, writes=NOTHING, database_url="postgresql://unused")


def test_readers_that_stop_keep_nobody_from_a_file() -> None:
    """However many have begun with theirs and take no more, the next one is rendered."""

    async def test() -> None:
        files = invoice_files()
        async with AsyncExitStack() as stack:
            for party in range(CHILDREN_MAX):
                pieces = files.pieces(draft(), InvoiceFormat.JSON, party)
                await stack.enter_async_context(aclosing(pieces))
                assert (await anext(pieces)).content
            assert [piece.last async for piece in files.pieces(draft(), InvoiceFormat.JSON, "next")][-1]

    run(test())


def test_a_child_does_not_wait_for_its_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """How far it is is told meanwhile; it ends and gives its place back though nobody asks for more."""
    go = tmp_path / "go"
    stand_in(monkeypatch, tmp_path, TWO_FRAMES.format(go=go))

    async def test() -> None:
        files = invoice_files()
        async with aclosing(files.pieces(draft(), InvoiceFormat.JSON)) as pieces:
            assert await anext(pieces) == Piece(b"", 7, last=False)
            assert (files.places.under_way, files.places.waiting) == (1, 0)
            go.touch()
            while files.places.under_way:
                await asyncio.sleep(0.01)
            assert [piece async for piece in pieces] == [Piece(b"abc", 9, last=True)]

    run(test())


def test_one_of_a_party_renders_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next one waits, for no longer than a while, and takes no place from others; then nothing is left of it."""

    async def test() -> None:
        places = RenderingPlaces()
        async with places.place("loud"):
            waiting = asyncio.create_task(places.place("loud").__aenter__())
            await asyncio.sleep(0)
            async with places.place("calm"):
                assert (places.under_way, places.waiting) == (2, 1)
            with pytest.raises(errors.QueueFull):
                await waiting
        async with places.place("loud"), places.place("calm"):
            with pytest.raises(errors.QueueFull):
                await places.place("third").__aenter__()
        assert (places.under_way, places.waiting, places.parties) == (0, 0, 0)

    monkeypatch.setattr(rendering_places, "WAIT_MAX_S", 0.1)
    run(test())


@pytest.mark.parametrize("memory_bytes_max", [4, 1000])
@pytest.mark.parametrize("size", [0, 1, 5, 10])
def test_a_file_is_read_as_it_was_written(monkeypatch: pytest.MonkeyPatch, memory_bytes_max: int, size: int) -> None:
    """In memory or on disk, as a whole or in pieces, the last of them marked; what replaces it is all there is."""
    content = bytes(range(size))

    async def test() -> None:
        with RenderedFile() as file:
            await file.append(b"longer than what replaces it")
            await file.replace(content[:3])
            await file.append(content[3:])
            assert (await file.content(), file.size) == (content, size)
            pieces = [piece async for piece in file.contents(5)]
        assert b"".join(piece for piece, _ in pieces) == content
        assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]

    monkeypatch.setattr(rendered_file, "MEMORY_BYTES_MAX", memory_bytes_max)
    run(test())
