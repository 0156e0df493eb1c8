"""How do alerts get into a file? As JSON, one line for each, with its time and all that is known of it."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from gatekeeper.domain.alert_deliveries import Notice
from gatekeeper.rotating_file import RotatingFile

from .failures import DeliveryFailed
from .own_thread import OwnThread
from .texts import event_time, fields

FOLDER = "budget"
FILE_NAME = "alerts.jsonl"


class LogFile:
    """Appends alerts to `<logs_dir>/budget/alerts.jsonl`. Any number of processes may share the folder."""

    name = "log"
    # The lines stand in the order of the alerts.
    at_once = 1

    def __init__(self, logs_dir: Path) -> None:
        """Write below this folder, from the first alert on."""
        self._file = RotatingFile(logs_dir / FOLDER / FILE_NAME)
        self._thread = OwnThread("alerts-log")

    async def deliver(self, notice: Notice) -> None:
        """Append a line, in ASCII. Raises `DeliveryFailed`."""
        line = json.dumps({"timestamp": event_time(notice), **fields(notice)})
        try:
            await self._thread.run(partial(self._file.append, [f"{line}\n"]))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
            raise DeliveryFailed(reason) from error
