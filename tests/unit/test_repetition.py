"""How often is it told that what the server does by itself fails?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from gatekeeper.domain.errors import DatabaseUnavailable
from gatekeeper.services.repetition import Failures, repeat

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def told(logs: list[Any]) -> list[tuple[str, int]]:
    """Return what was told, and of how many failures."""
    return [(line["event"], line.get("count", 0)) for line in logs]


async def test_failures_that_last() -> None:
    """They are told when they begin, then once a minute with how many there were, and when they are over."""
    clock = Clock()
    failures = Failures("database.away", "database.back", clock)
    with structlog.testing.capture_logs() as logs:
        for _ in range(601):
            failures.add(reason="it does not answer")
            clock.now_s += 0.25
        failures.end()
        failures.end()
    assert told(logs) == [("database.away", 1), ("database.away", 240), ("database.away", 240), ("database.back", 0)]
    assert logs[-1]["untold"] == 120


async def test_what_fails_again_is_told_again() -> None:
    """A new beginning is told, unless the last one was just told: what comes and goes floods no log either."""
    clock = Clock()
    failures = Failures("sweep.failed", "work.resumed", clock)
    with structlog.testing.capture_logs() as logs:
        for _ in range(400):
            failures.add(reason="no")
            failures.end()
            clock.now_s += 0.125
    assert told(logs) == [
        ("sweep.failed", 1),
        ("work.resumed", 0),
        *[("sweep.failed", 80), ("work.resumed", 0)] * 4,
    ]


@pytest.mark.parametrize("error", [DatabaseUnavailable(), KeyError("unforeseen")])
async def test_work_that_fails_for_a_while(error: Exception) -> None:
    """It is told twice, however often it was tried in between."""
    attempts = 0
    done = asyncio.Event()

    async def work() -> int:
        nonlocal attempts
        attempts += 1
        if attempts <= 50:
            raise error
        if attempts > 60:
            done.set()
        return 0

    with structlog.testing.capture_logs() as logs:
        repeating = asyncio.create_task(repeat("sweep.failed", work, lambda _: 0))
        await done.wait()
        repeating.cancel()
    assert told(logs) == [("sweep.failed", 1), ("work.resumed", 0)]
    assert (logs[0].get("exc_info") is error) is isinstance(error, KeyError)
    assert (logs[1]["after"], logs[1]["untold"]) == ("sweep.failed", 49)
