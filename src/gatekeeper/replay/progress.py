"""How far is a replay? A line on the terminal, and silence elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .tally import Tally

REFRESH_S: Final = 0.2


class Display:
    """Shows what a tally says, on standard error, if that is a terminal."""

    def __init__(self, fraction: Callable[[Tally], float]) -> None:
        """Show `fraction`, 0 to 1, as what is done; it may be replaced by a better one."""
        self.fraction = fraction
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[counts]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = TaskID(0)

    @contextmanager
    def watching(self, tally: Tally) -> Iterator[None]:
        """Show the tally as it changes."""
        if not self._progress.console.is_terminal:
            yield
            return
        with self._progress:
            self._task = self._progress.add_task("replaying", total=1, counts="")
            refreshing = asyncio.create_task(self._refresh(tally))
            try:
                yield
            finally:
                refreshing.cancel()

    def expiring(self) -> None:
        """Say that only time is waited for now."""
        if self._progress.task_ids:
            self._progress.update(self._task, description="waiting for open holds to expire")

    async def _refresh(self, tally: Tally) -> None:
        began = monotonic()
        while True:
            rate = tally.calls / max(monotonic() - began, REFRESH_S)
            counts = (
                f"{tally.calls:,} calls  {rate:,.0f}/s  {tally.admitted:,} admitted  {tally.denied.total():,} denied"
            )
            self._progress.update(self._task, completed=self.fraction(tally), counts=counts)
            await asyncio.sleep(REFRESH_S)
