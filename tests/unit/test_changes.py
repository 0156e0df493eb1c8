"""Are the names of changed organizations kept, once each and not without bound?"""

from __future__ import annotations

import asyncio

import pytest

from gatekeeper.services.changes import EVERY, NAMES_MAX, Changes


def test_what_was_told_is_drained_once() -> None:
    """A name that is told twice is drained once, and is gone then."""
    changes = Changes()
    for name in ("acme", "globex", "acme"):
        changes.tell(name)
    assert changes.drain() == {"acme", "globex"}
    assert changes.drain() == frozenset()


def test_too_many_names_stand_for_every_organization() -> None:
    """Beyond the bound no names are kept, until they are drained."""
    changes = Changes()
    for number in range(NAMES_MAX + 2):
        changes.tell(f"organization-{number}")
    assert changes.drain() == {EVERY}
    changes.tell("acme")
    assert changes.drain() == {"acme"}


@pytest.mark.anyio
async def test_whoever_waits_goes_on_when_something_is_told() -> None:
    """A wait ends with the first name, at once where one is there, and not for what was drained."""
    changes = Changes()
    waiting = asyncio.create_task(changes.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    changes.tell("acme")
    await waiting
    await changes.wait()
    changes.drain()
    again = asyncio.create_task(changes.wait())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
