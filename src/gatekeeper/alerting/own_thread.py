"""How does something that blocks run beside the event loop, and hold up nothing else when it hangs?

In a thread of its own: the event loop's are shared, and those of an executor are waited for when the process ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from .failures import DeliveryFailed


class OwnThread:
    """Runs one thing at a time, and refuses more while what was given up has not come back."""

    def __init__(self, name: str) -> None:
        """Name the thread."""
        self._name = name
        self._is_busy = False

    async def run(self, call: Callable[[], None]) -> None:
        """Run a call to its end; what it raises is raised here.

        Raises `DeliveryFailed` at once while another is running.
        """
        if self._is_busy:
            message = "the attempt before has not come back yet"
            raise DeliveryFailed(message)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def work() -> None:
            error: Exception | None = None
            try:
                call()
            except Exception as failed:  # noqa: BLE001 - it is raised where somebody waits
                error = failed
            # Where nobody runs the loop any more, nobody waits either.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._settle, done, error)

        self._is_busy = True
        Thread(target=work, name=self._name, daemon=True).start()
        await done

    def _settle(self, done: asyncio.Future[None], error: Exception | None) -> None:
        self._is_busy = False
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
