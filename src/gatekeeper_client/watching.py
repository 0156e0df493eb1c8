"""When is a lost watch tried again? What both clients share of a stream that outlives its connections."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import grpc

from gatekeeper_client.errors import GatekeeperError, Overloaded, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 5.0


class Comeback:
    """How a watch comes back: after pauses that double, from 0.1 s to 5 s, until it hears something again."""

    def __init__(self, on_lost: Callable[[GatekeeperError], None] | None) -> None:
        """Begin a watch that has not heard anything."""
        self._on_lost = on_lost
        self._was_heard = False
        self._pause_s = PAUSE_S_MIN

    def heard(self) -> None:
        """Note that the server has spoken."""
        self._was_heard = True
        self._pause_s = PAUSE_S_MIN

    def pause_s(self, error: GatekeeperError) -> float:
        """Return how long to wait before the next try; raise the error where nothing was ever heard, or none helps."""
        if not (self._was_heard and isinstance(error, Unavailable | Overloaded)):
            raise error
        if self._on_lost is not None:
            self._on_lost(error)
        # Not all at once: a server that returns has many watchers.
        pause_s = self._pause_s * random.uniform(0.5, 1)  # noqa: S311 - nothing is secret about it
        self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        return max(pause_s, error.retry_delay.total_seconds() if error.retry_delay else 0)


def ended() -> GatekeeperError:
    """Return what it means that a server ended a watch without a word: it stops."""
    return Unavailable("the server has ended the watch", code=grpc.StatusCode.UNAVAILABLE)
