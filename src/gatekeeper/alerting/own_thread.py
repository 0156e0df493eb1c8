"""How does something that blocks run beside the event loop, and hold up nothing else when it hangs?

In a thread of its own: the event loop's are shared, and those of an executor are waited for when the process ends. One
that hangs for long is left behind, and another one goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from .failures import DeliveryFailed

# Threads that hang, left behind, of one channel.
ABANDONED_MAX = 4
GRACE_MIN_S = 30.0


def grace_s(timeout_s: float) -> float:
    """Return how long a call may hang whose attempt is given up after `timeout_s`."""
    return max(2 * timeout_s, GRACE_MIN_S)


class OwnThread:
    """Runs one thing at a time, and refuses more while what was given up has not come back.

    What has not come back within a grace period is left behind, unless too much was before.
    """

    def __init__(self, name: str, grace_s: float = GRACE_MIN_S) -> None:
        """Name the thread; let a call hang for `grace_s`."""
        self._name = name
        self._grace_s = grace_s
        self._current: object | None = None
        self._began_at = 0.0
        self._abandoned: set[object] = set()

    def is_busy(self) -> bool:
        """Tell whether a call would be refused; leave one behind that hangs for too long."""
        current = self._current
        if current is None:
            return False
        if time.monotonic() - self._began_at < self._grace_s or len(self._abandoned) >= ABANDONED_MAX:
            return True
        self._abandoned.add(current)
        self._current = None
        return False

    async def run(self, call: Callable[[], None]) -> None:
        """Run a call to its end; what it raises is raised here.

        Raises `DeliveryFailed` at once while another is running.
        """
        if self.is_busy():
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

        self._current, self._began_at = done, time.monotonic()
        Thread(target=work, name=self._name, daemon=True).start()
        await done

    def _settle(self, done: asyncio.Future[None], error: Exception | None) -> None:
        self._abandoned.discard(done)
        if self._current is done:
            self._current = None
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
