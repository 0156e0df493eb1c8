"""Do those who watch hear of every change, whichever process made it, for few reads and no more connections?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from unittest.mock import AsyncMock

import psycopg
import pytest

from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.services import watch
from gatekeeper.services.changes import NAMES_MAX
from tests.integration.echo import run, until
from tests.integration.hubs import Hub, hub_on, listeners, listening_hub_on, message_of, set_cap, written

# Less than the streams of the test owe, if what they leave is owed by others.
DEBT_S = 2


@pytest.fixture
def no_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be read anew just because time has passed."""
    monkeypatch.setattr(watch, "REFRESH_S", 3600)


SOON = pytest.mark.usefixtures("no_refresh")


@SOON
def test_a_change_in_another_process_arrives(database_url: str) -> None:
    """One that tells of it, on the same database; what else is watched is not read anew."""

    async def test() -> None:
        for name in ("acme", "globex"):
            set_cap(database_url, name, 1)
        async with (
            listening_hub_on(database_url) as ours,
            hub_on(database_url) as theirs,
            aclosing(ours.watches.messages("acme")) as acme,
            aclosing(ours.watches.messages("globex")) as globex,
        ):
            assert (await message_of(acme), await message_of(globex)) == (b"*1", b"*1")
            set_cap(database_url, "acme", 2)
            theirs.changes.tell("acme")
            assert await message_of(acme) == b"2"
            assert (ours.reads, theirs.reads) == (["acme", "globex", "acme"], [])

    run(test())


@SOON
def test_a_change_of_our_own_is_read_once(database_url: str) -> None:
    """The notification of it comes back to the process that sent it, where it says nothing new."""

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with listening_hub_on(database_url) as hub, aclosing(hub.watches.messages("acme")) as acme:
            await message_of(acme)
            for cap in (2, 3, 4):
                set_cap(database_url, "acme", cap)
                hub.changes.tell("acme")
                assert await message_of(acme) == str(cap).encode()
            assert hub.reads == ["acme"] * 4

    run(test())


@SOON
def test_too_many_changes_are_heard_of_as_well(database_url: str) -> None:
    """More changed organizations than one notification names, or than are told apart, are heard of everywhere."""

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with (
            listening_hub_on(database_url) as ours,
            listening_hub_on(database_url) as theirs,
            aclosing(ours.watches.messages("acme")) as here,
            aclosing(theirs.watches.messages("acme")) as there,
        ):
            await asyncio.gather(message_of(here), message_of(there))
            for count, cap in ((NAMES_MAX // 2, 2), (NAMES_MAX, 3)):
                set_cap(database_url, "acme", cap)
                theirs.changes.tell("acme")
                for number in range(count):
                    theirs.changes.tell(f"an organization with a long name, {number}")
                assert await message_of(here) == await message_of(there) == str(cap).encode()

    run(test())


@SOON
def test_a_cut_connection_is_replaced(database_url: str) -> None:
    """What was told while nobody listened is read once somebody does again."""

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with listening_hub_on(database_url) as hub, aclosing(hub.watches.messages("acme")) as acme:
            await message_of(acme)
            for cap in (2, 3):
                set_cap(database_url, "acme", cap)
                with psycopg.connect(database_url) as connection:
                    connection.execute("SELECT pg_terminate_backend(%s)", listeners(database_url))
                assert await message_of(acme) == str(cap).encode()
                assert hub.watches.is_listening
                assert len(listeners(database_url)) == 1

    run(test())


def test_what_nobody_told_of_is_seen(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ended between its commit and its notification leaves a change that is found by reading."""
    monkeypatch.setattr(watch, "REFRESH_S", 0.1)

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with listening_hub_on(database_url) as hub, aclosing(hub.watches.messages("acme")) as acme:
            assert await message_of(acme) == b"*1"
            set_cap(database_url, "acme", 2)
            assert await message_of(acme) == b"2"

    run(test())


def test_without_anybody_who_watches_nothing_is_read(database_url: str) -> None:
    """There is no connection to listen by, either, until somebody watches for the first time."""

    async def test() -> None:
        async with hub_on(database_url) as hub, listening_hub_on(database_url) as other:
            async with aclosing(other.watches.messages("first")) as first:
                await message_of(first)
                # Once the other has heard of it, this one has done with it all that it ever will.
                set_cap(database_url, "first", 2)
                hub.changes.tell("first")
                assert await message_of(first) == b"2"
            assert (hub.reads, hub.watches.is_listening, len(listeners(database_url))) == ([], False, 1)
            assert len(other.watches) == 0

    run(test())


@SOON
def test_one_read_serves_all_who_watch(database_url: str) -> None:
    """However many watch, a change is read once; who comes later gets a snapshot that was read after it came."""

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with listening_hub_on(database_url) as hub, AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(aclosing(hub.watches.messages("acme"))) for _ in range(100)]
            assert {*await asyncio.gather(*map(message_of, streams))} == {b"*1"}
            set_cap(database_url, "acme", 2)
            hub.changes.tell("acme")
            assert {*await asyncio.gather(*map(message_of, streams))} == {b"2"}
            set_cap(database_url, "acme", 3)
            late = await stack.enter_async_context(aclosing(hub.watches.messages("acme")))
            assert await message_of(late) == b"*3"
            assert {*await asyncio.gather(*map(message_of, streams))} == {b"3"}
            assert hub.reads == ["acme"] * 3

    run(test())


def test_whoever_reads_slowly_skips_what_was_between(database_url: str) -> None:
    """It gets one message with what is new since its last one; nothing is kept for it meanwhile."""

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with (
            hub_on(database_url) as hub,
            aclosing(hub.watches.messages("acme")) as slow,
            aclosing(hub.watches.messages("acme")) as quick,
        ):
            await asyncio.gather(message_of(slow), message_of(quick))
            for cap in range(2, 6):
                set_cap(database_url, "acme", cap)
                hub.changes.tell("acme")
                assert await message_of(quick) == str(cap).encode()
            assert await message_of(slow) == b"5"

    run(test())


def test_streams_that_leave_leave_no_debt(database_url: str) -> None:
    """However many come for a change and go, others hear of theirs at once."""

    async def test() -> None:
        for name in ("acme", "globex"):
            set_cap(database_url, name, 1)
        async with listening_hub_on(database_url) as hub, aclosing(hub.watches.messages("globex")) as globex:
            await message_of(globex)
            async with AsyncExitStack() as stack:
                streams = [await stack.enter_async_context(aclosing(hub.watches.messages("acme"))) for _ in range(1000)]
                await asyncio.gather(*map(message_of, streams))
                waiting = [asyncio.create_task(message_of(stream)) for stream in streams]
                await asyncio.sleep(0)
                set_cap(database_url, "acme", 2)
                hub.changes.tell("acme")
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()
                await asyncio.wait(waiting)
            set_cap(database_url, "globex", 2)
            hub.changes.tell("globex")
            async with asyncio.timeout(DEBT_S):
                assert await message_of(globex) == b"2"

    run(test())


@SOON
def test_organizations_do_not_wait_for_each_other(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While those who watch one are told, a few at a time, those of another have heard."""

    async def test() -> None:
        for name in ("acme", "globex"):
            set_cap(database_url, name, 1)
        async with listening_hub_on(database_url) as hub, AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(aclosing(hub.watches.messages("acme"))) for _ in range(3)]
            globex = await stack.enter_async_context(aclosing(hub.watches.messages("globex")))
            await asyncio.gather(*map(message_of, [*streams, globex]))
            monkeypatch.setattr(watch, "BEAT_S", 3600)
            monkeypatch.setattr(watch, "REST_S", 1800)
            monkeypatch.setattr(watch.Board, "pause_s", lambda *_: 3600.0)
            waiting = [asyncio.create_task(message_of(stream)) for stream in streams]
            await asyncio.sleep(0)
            for name in ("acme", "globex"):
                set_cap(database_url, name, 2)
                hub.changes.tell(name)
            assert await message_of(globex) == b"2"
            await until(lambda: sum(task.done() for task in waiting) == 2)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    run(test())


def test_where_many_watch_it_is_read_less_often() -> None:
    """So that an organization has two hundred messages a second, until a thousand watch; one alone hears at once."""

    async def test() -> None:
        board = watch.Board("acme", AsyncMock(side_effect=TimeoutError), written, asyncio.Semaphore(0))
        for watchers, interval_s in ((1, 0.25), (50, 0.25), (200, 1), (400, 2), (10_000, 2)):
            board.watchers = watchers
            assert board.pause_s(0.001) == interval_s
        board.close()

    run(test())


def test_that_nothing_has_changed_is_told_while_it_is_known(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message without budgets comes again and again, but not while the database cannot be asked."""
    for name in ("REFRESH_S", "BEAT_S", "QUIET_S"):
        monkeypatch.setattr(watch, name, 0.1)

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with listening_hub_on(database_url) as hub, aclosing(hub.watches.messages("acme")) as acme:
            assert await message_of(acme) == b"*1"
            assert [await message_of(acme) for _ in range(2)] == [b"", b""]
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute("ALTER TABLE budgets RENAME TO elsewhere")
                # What was read before that is told of once at most.
                told = [await anext(acme) for _ in range(20)]
                assert sum(message is not None for message in told) <= 1
                connection.execute("ALTER TABLE elsewhere RENAME TO budgets")
            assert await message_of(acme) == b""

    run(test())


def test_an_unknown_organization_leaves_nothing_behind(database_url: str) -> None:
    """Who asks for one is told so; who asks once there is one gets it."""

    async def test() -> None:
        async with hub_on(database_url) as hub:
            for _ in range(3):
                with pytest.raises(OrganizationNotFound):
                    await anext(hub.watches.messages("nobody"))
            assert len(hub.watches) == 0
            set_cap(database_url, "nobody", 1)
            async with aclosing(hub.watches.messages("nobody")) as nobody:
                assert await message_of(nobody) == b"*1"

    run(test())


@SOON
def test_a_read_that_fails_is_made_again(database_url: str) -> None:
    """Whatever the reason, those who watch stay, and see what has changed as soon as it can be read."""

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with listening_hub_on(database_url) as hub, aclosing(hub.watches.messages("acme")) as acme:
            await message_of(acme)
            set_cap(database_url, "acme", 2)
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute("ALTER TABLE budgets RENAME TO elsewhere")
                hub.changes.tell("acme")
                with pytest.raises(psycopg.errors.UndefinedTable):
                    await anext(hub.watches.messages("acme"))
                connection.execute("ALTER TABLE elsewhere RENAME TO budgets")
            assert await message_of(acme) == b"2"

    run(test())


def test_whoever_leaves_takes_its_tasks_along(database_url: str) -> None:
    """Cancelled while it waits, for the first message or for a later one: nothing runs on."""

    async def test() -> None:
        set_cap(database_url, "acme", 1)
        async with listening_hub_on(database_url) as hub:
            before = len(asyncio.all_tasks())
            for passes in (0, 1, 5, 50):
                tasks = [asyncio.create_task(watch_for_ever(hub)) for _ in range(20)]
                for _ in range(passes):
                    await asyncio.sleep(0.001)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                assert len(hub.watches) == 0
                await until(lambda: len(asyncio.all_tasks()) <= before)
            assert len(listeners(database_url)) == 1

    run(test())


async def watch_for_ever(hub: Hub) -> None:
    """Watch until cancelled."""
    async with aclosing(hub.watches.messages("acme")) as acme:
        async for _ in acme:
            continue
