"""How do blocked executions get into a log that people read? As rows of a Markdown table, one for each denial.

The audit trail has the same denials for good, and exactly; this file is for a look in between. It is cut off at 5 MB,
with five older ones beside it, and may miss what a process had just chained when it ended.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import structlog

from gatekeeper.domain.audit import Content
from gatekeeper.domain.money import plain

log = structlog.get_logger(__name__)

FOLDER = "budget"
NAME = "blocked-executions.md"
FILE_BYTES_MAX = 5_000_000
OLDER_FILES = 5
# Rows between two looks at the size of the file.
ROWS_TOGETHER = 100
# How long to wait for other processes that write to the same folder, and how often to look.
LOCK_PATIENCE_S = 1.0
LOCK_POLL_S = 0.02
# How often it is said that writing fails.
TELL_INTERVAL_S = 60

COLUMNS = (
    "Time (UTC)",
    "Organization",
    "Campaign",
    "Agent",
    "Run",
    "Model",
    "Reason",
    "Requested",
    "Shortfall",
    "Budget",
    "Caller",
    "Reservation",
)
HEADER = f"""# Blocked executions

Calls that were not admitted, oldest first; `gatekeeper audit --action CALL_DENIED` lists them with everything that is
known. Amounts are in the organization's currency. In names, ¦ stands for a pipe and ' for a backtick.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}
"""


class BlockedLog:
    """Appends denials to `<logs_dir>/budget/blocked-executions.md`. Any number of processes may share the folder."""

    def __init__(self, logs_dir: Path) -> None:
        """Write below this folder, from the first denial on."""
        self._folder = logs_dir / FOLDER
        self._told_at = -float(TELL_INTERVAL_S)

    async def write(self, denials: Sequence[Content]) -> None:
        """Append denials, each with what its seal covers. A failure is logged, once a minute, and not tried again."""
        try:
            await asyncio.to_thread(self._append, denials)
        except OSError as error:
            if time.monotonic() - self._told_at >= TELL_INTERVAL_S:
                self._told_at = time.monotonic()
                log.warning("blocked_log.failed", path=str(self._folder / NAME), reason=error.strerror or str(error))

    def _append(self, denials: Sequence[Content]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = [_row(denial) for denial in denials]
        with _locked(self._folder):
            for first in range(0, len(rows), ROWS_TOGETHER):
                self._write("".join(rows[first : first + ROWS_TOGETHER]).encode())

    def _write(self, lines: bytes) -> None:
        """Append whole lines, or nothing."""
        path = self._folder / NAME
        if path.exists() and path.stat().st_size + len(lines) > FILE_BYTES_MAX:
            self._rotate()
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        try:
            size = os.fstat(opened).st_size
            text = lines if size else HEADER.encode() + lines
            if os.write(opened, text) < len(text):
                os.ftruncate(opened, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(opened)

    def _rotate(self) -> None:
        path = self._folder / NAME
        for number in range(OLDER_FILES - 1, 0, -1):
            older = path.with_name(f"{NAME}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{NAME}.{number + 1}"))
        path.replace(path.with_name(f"{NAME}.1"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out, by a lock that ends with whoever has it. Raises TimeoutError."""
    opened = os.open(folder / f".{NAME}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not _lock(opened):
            if time.monotonic() > deadline:
                message = "another process does not let go of its lock"
                raise TimeoutError(message)
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(opened)


def _lock(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _row(denial: Content) -> str:
    cells = (
        (denial["denied_at"] or "").replace("T", " ").removesuffix("+00:00"),
        _cell(denial["organization"]),
        _cell(denial["campaign"]),
        _cell(denial["agent"]),
        _cell(denial["run"]),
        _cell(denial["model"]),
        denial["reason"] or "",
        _amount(denial["requested"]),
        _amount(denial["shortfall"]),
        _cell(_budget(denial)),
        _cell(denial["actor"]),
        _cell(denial["reservation_id"]),
    )
    return f"| {' | '.join(cells)} |\n"


def _amount(text: str | None) -> str:
    return plain(Decimal(text or 0))


def _budget(denial: Content) -> str:
    if not denial["scope_kind"]:
        return ""
    scope = f"{denial['scope_kind'].lower()} {denial['scope_id'] or ''}".strip()
    return f"{scope}, {(denial['budget_window'] or '').lower()} {denial['period']}"


def _cell(name: str | None) -> str:
    """Write a name as code, in which nothing becomes a link, HTML or a cell of its own, whoever renders it."""
    if not name:
        return ""
    shown = name.replace("|", "¦").replace("`", "'")
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
    return f"`{shown}`"
