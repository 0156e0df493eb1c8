"""Does a thread that hangs hold up nothing but itself?"""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from gatekeeper.alerting.failures import DeliveryFailed, reason_of
from gatekeeper.alerting.own_thread import ABANDONED_MAX, OwnThread, grace_s

pytestmark = pytest.mark.anyio

WORD = "sesame"


async def test_calls_follow_each_other() -> None:
    """Each may begin as soon as the one before has ended, and each is in a thread."""
    threads: list[threading.Thread] = []
    own = OwnThread("alerts")
    for _ in range(200):
        await own.run(lambda: threads.append(threading.current_thread()))
    assert len(threads) == 200
    assert threading.main_thread() not in threads
    assert {(thread.name, thread.daemon) for thread in threads} == {("alerts", True)}


async def test_errors_come_back() -> None:
    """What a call raises is raised where it is waited for, and the next call goes on."""

    def fail() -> None:
        raise KeyError

    own = OwnThread("alerts")
    with pytest.raises(KeyError):
        await own.run(fail)
    await own.run(lambda: None)


async def test_while_one_hangs_no_other_begins() -> None:
    """Whoever gave it up is not held up; who comes then is refused until it has come back."""
    let_go = threading.Event()
    own = OwnThread("alerts")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(own.run(partial(hang, let_go)), 0.01)
    with pytest.raises(DeliveryFailed, match="has not come back yet"):
        await own.run(lambda: None)
    let_go.set()
    async with asyncio.timeout(10):
        while True:
            try:
                await own.run(lambda: None)
            except DeliveryFailed:
                await asyncio.sleep(0.01)
            else:
                break


def hang(let_go: threading.Event) -> None:
    let_go.wait(30)


async def test_what_hangs_for_long_is_left_behind() -> None:
    """Others go on in another thread, until too many hang; one that comes back makes room."""
    let_go = [threading.Event() for _ in range(ABANDONED_MAX + 1)]
    own = OwnThread("alerts", grace_s=0)
    for event in let_go:
        assert not own.is_busy()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(own.run(partial(hang, event)), 0.01)
    assert own.is_busy()
    with pytest.raises(DeliveryFailed, match="has not come back yet"):
        await own.run(lambda: None)
    let_go[0].set()
    async with asyncio.timeout(10):
        while own.is_busy():
            await asyncio.sleep(0.01)
    await own.run(lambda: None)
    for event in let_go:
        event.set()


def test_grace_is_for_more_than_an_attempt() -> None:
    """Twice as long as an attempt may take, and half a minute at least."""
    assert [grace_s(timeout_s) for timeout_s in (0.5, 10, 60)] == [30, 30, 120]


def test_reasons_name_kinds_of_errors_alone() -> None:
    """The first and the last of what an error came from, without a word of theirs."""
    several = ExceptionGroup(WORD, [ValueError(WORD), KeyError(WORD)])
    error = OSError(WORD)
    error.__cause__ = several
    assert reason_of(error) == "OSError: ValueError"
    assert reason_of(TimeoutError(WORD)) == "TimeoutError"
    assert reason_of(DeliveryFailed("HTTP 500")) == "HTTP 500"
