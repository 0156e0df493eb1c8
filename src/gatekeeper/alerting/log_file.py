"""How do alerts get into a file? As JSON, one line for each, with its time and all that is known of it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gatekeeper.domain.alert_deliveries import Notice
from gatekeeper.rotating_file import RotatingFile

from .failures import DeliveryFailed
from .own_thread import OwnThread, grace_s
from .texts import event_time, fields

FOLDER = "budget"
FILE_NAME = "alerts.jsonl"


class LogFile:
    """Appends alerts to `<logs_dir>/budget/alerts.jsonl`. Any number of processes may share the folder."""

    name = "log"
    # The lines stand in the order of the alerts.
    at_once = 1

    def __init__(self, logs_dir: Path, timeout_s: float) -> None:
        """Write below this folder, from the first alert on, of which each attempt is given up after `timeout_s`."""
        self._file = RotatingFile(logs_dir / FOLDER / FILE_NAME)
        self._thread = OwnThread("alerts-log", grace_s(timeout_s))
        self._looking = OwnThread("alerts-log-check", grace_s(timeout_s))

    def is_busy(self) -> bool:
        """Tell whether the attempt before has not come back."""
        return self._thread.is_busy()

    async def check(self) -> None:
        """Look whether lines could be appended, and change nothing. Raises `DeliveryFailed`."""
        await _told(self._looking, partial(_require_writable, self._file.path))

    async def deliver(self, notice: Notice) -> None:
        """Append a line, in ASCII. Raises `DeliveryFailed`."""
        line = json.dumps({"timestamp": event_time(notice), **fields(notice)})
        await _told(self._thread, partial(self._file.append, [f"{line}\n"]))


async def _told(thread: OwnThread, call: Callable[[], None]) -> None:
    """Run a call in a thread. Raises `DeliveryFailed`, in words without a path."""
    try:
        await thread.run(call)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise DeliveryFailed(reason) from error


def _require_writable(path: Path) -> None:
    """Raise `OSError` where a file cannot be made or appended to."""
    if path.exists():
        _require(path, os.W_OK)
    folder = next(folder for folder in path.parents if folder.exists())
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    _require(folder, os.W_OK | os.X_OK)


def _require(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
