"""How do an invoice's files get to disk? Whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from gatekeeper_client.v1.gatekeeper_service_pb2 import ExportInvoiceResponse
    from gatekeeper_client.v1.invoice_pb2 import FileChunk, Invoice

# What most file systems take for a name, less what is put before it while it is written.
NAME_BYTES_MAX = 200
DIGEST_CHARS = 12

# What is told while files come: the file's name, how much of it is there, and how much there will be (None: not known).
Progress = Callable[[str, int, int | None], None]


class FileFailed(Exception):
    """A file could not be written; the message says which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An invoice, and its files on disk."""

    invoice: Invoice
    paths: list[Path] = field(default_factory=list)


class _Responses(Protocol):
    def __iter__(self) -> Iterator[ExportInvoiceResponse]:
        """Return what comes."""


def write_files(responses: _Responses, folder: Path, progress: Progress) -> Exported:
    """Write what an export sends into a folder; return the invoice and its files. Raises `FileFailed`."""
    coming = iter(responses)
    with _interrupted_by_sigterm():
        exported = Exported(invoice=next(coming).invoice)
        for response in coming:
            exported.paths.append(_write_file(response.chunk, coming, folder, exported, progress))
    return exported


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let whoever ends the command find no half files, as with Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_file(
    first: FileChunk, coming: Iterator[ExportInvoiceResponse], folder: Path, exported: Exported, progress: Progress
) -> Path:
    """Write one file under another name, and give it its own when it is whole."""
    path = folder / Path(first.filename).name
    unfinished = folder / f".{path.name}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with unfinished.open("wb") as out:
            _copy(first, coming, out, lambda done, entries: _tell(progress, path, exported, done, entries))
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)
    except OSError as error:
        again = ". The invoice stands; the same command gives the same one again" if exported.invoice.number else ""
        message = f"{path}: {error.strerror or error}{again}"
        raise FileFailed(message) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


def _remove_leftovers(path: Path) -> None:
    """Remove what commands that were killed have left of a file; those that still run write theirs."""
    for leftover in path.parent.glob(f".{escape(path.name)}.*.part"):
        pid = leftover.name.split(".")[-2]
        if pid.isdecimal() and not _runs(int(pid)):
            leftover.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _copy(
    chunk: FileChunk, coming: Iterator[ExportInvoiceResponse], out: BinaryIO, tell: Callable[[int, int], None]
) -> None:
    done = 0
    while True:
        out.write(chunk.data)
        done += len(chunk.data)
        tell(done, chunk.entries_done)
        if chunk.last:
            return
        chunk = next(coming).chunk


def _tell(progress: Progress, path: Path, exported: Exported, done: int, entries: int) -> None:
    if entries:
        progress(path.name, entries, exported.invoice.entries)
    else:
        progress(path.name, done, None)


def folder_name(organization: str) -> str:
    """Return a name for an organization's folder: the name itself where that is possible, and never another's."""
    name = organization.replace("%", "%25").replace("/", "%2F")
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    digest = hashlib.sha256(organization.encode()).hexdigest()[:DIGEST_CHARS]
    return f"{name.encode()[:NAME_BYTES_MAX].decode(errors='ignore')}%{digest}"
