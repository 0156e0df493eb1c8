"""What does the gate keep of calls that fail, are cancelled or refused, and of connections that die? Nothing."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from gatekeeper.domain.commands import Release
from gatekeeper.domain.errors import DatabaseUnavailable, ReservationNotFound

from .in_process import TERMINATE, count_of, gate_on, locked, outcome_of, reservation_ids, reserving, until_waiting

pytestmark = pytest.mark.anyio


UVLOOP, ASYNCIO = ("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})
# A dying connection looks different to each event loop.
on_both_loops = pytest.mark.parametrize("anyio_backend", [UVLOOP, ASYNCIO], ids=["uvloop", "asyncio"])


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the server's event loop."""
    return UVLOOP


async def test_no_lane_outlives_its_calls(database_url: str) -> None:
    """After calls of 500 organizations no lane is left, and none of them was open longer than its calls."""
    async with gate_on(database_url) as gate:
        for first in range(0, 500, 50):
            names = [f"organization-{number}" for number in range(first, first + 50)]
            assert {*await asyncio.gather(*(outcome_of(gate, name, name) for name in names))} == {"held"}
            await gate.drain()
            assert (gate.waiting, gate._lanes) == (0, {})
    assert len(reservation_ids(database_url)) == 500


async def test_cancelled_and_overdue_calls_are_not_admitted(database_url: str) -> None:
    """Of calls that wait for a lock, those that are cancelled or overdue when it comes are not in the ledger."""
    async with gate_on(database_url) as gate:
        assert await outcome_of(gate, "opened") == "held"
        with locked(database_url):
            first = asyncio.create_task(outcome_of(gate, "first"))
            await until_waiting(database_url)
            living = [asyncio.create_task(outcome_of(gate, f"living-{n}")) for n in range(50)]
            late = [asyncio.create_task(outcome_of(gate, f"late-{n}", timeout_s=0.1)) for n in range(50)]
            left = [asyncio.create_task(outcome_of(gate, f"left-{n}")) for n in range(50)]
            await asyncio.sleep(0.2)
            assert gate.waiting == 150
            for task in (first, *left):
                task.cancel()
            await asyncio.wait([first, *left])
        assert {*await asyncio.gather(*living)} == {"held"}
        assert {*await asyncio.gather(*late)} == {"DeadlineExceeded"}
    assert reservation_ids(database_url) == {"opened", *(f"living-{n}" for n in range(50))}


async def test_refused_calls_leave_no_lane(database_url: str) -> None:
    """Calls that find the queue full are refused at once, whatever organization they are of, and leave nothing."""
    async with gate_on(database_url, queue_total_max=3) as gate:
        assert await outcome_of(gate, "opened") == "held"
        with locked(database_url):
            under_way = asyncio.create_task(outcome_of(gate, "under way"))
            await until_waiting(database_url)
            waiting = [asyncio.create_task(outcome_of(gate, f"waiting-{n}")) for n in range(3)]
            await asyncio.sleep(0)
            refused = {await outcome_of(gate, name, name) for name in ("acme", "beta", "gamma")}
            assert (refused, [*gate._lanes]) == ({"QueueFull"}, ["acme"])
        assert {*await asyncio.gather(under_way, *waiting)} == {"held"}


async def test_a_full_queue_behind_a_slow_database_says_so(database_url: str) -> None:
    """Where the call in front waits for long, those that find the queue full hear that the database is away."""
    async with gate_on(database_url, queue_max=1, stalled_after_s=0.1) as gate:
        assert await outcome_of(gate, "opened") == "held"
        with locked(database_url):
            under_way = asyncio.create_task(outcome_of(gate, "under way"))
            await until_waiting(database_url)
            waiting = asyncio.create_task(outcome_of(gate, "waiting"))
            await asyncio.sleep(0.2)
            assert await outcome_of(gate, "refused") == "DatabaseUnavailable"
        assert await asyncio.gather(under_way, waiting) == ["held", "held"]


async def test_a_poisoned_call_fails_alone(database_url: str) -> None:
    """A call that PostgreSQL refuses fails; those of its batch, and those after it on its connection, do not."""
    async with gate_on(database_url, pool_max=1) as gate:
        names = [f"healthy-{n}" for n in range(10)]
        outcomes = await asyncio.gather(*(outcome_of(gate, name) for name in (*names, "poisoned \0")))
        assert {*outcomes[:-1]} == {"held"}
        assert outcomes[-1] not in {"held", "DatabaseUnavailable"}
        assert await outcome_of(gate, "after") == "held"
    assert reservation_ids(database_url) == {*names, "after"}


async def test_calls_that_fail_leave_their_connection_as_it_was(database_url: str) -> None:
    """However many calls in a row have no verdict, the next one on their connection has."""
    async with gate_on(database_url, pool_max=1) as gate:
        assert await outcome_of(gate, "before") == "held"
        for number in range(20):
            with pytest.raises(ReservationNotFound):
                await gate.submit("acme", Release(reservation_id=f"unknown-{number}"))
            with pytest.raises(ReservationNotFound):
                await gate.submit("nobody", Release(reservation_id=f"unknown-{number}"))
        assert await outcome_of(gate, "after") == "held"


@on_both_loops
async def test_a_batch_that_takes_too_long_is_given_up(database_url: str) -> None:
    """Its calls hear that the database is away; neither lane nor connection stay behind, however often it happens."""
    async with gate_on(database_url, pool_max=2, batch_timeout_s=0.3) as gate:
        assert await outcome_of(gate, "opened") == "held"
        with locked(database_url):
            for number in range(5):
                calls = (outcome_of(gate, f"{number}-{n}") for n in range(3))
                assert {*await asyncio.gather(*calls)} == {"DatabaseUnavailable"}
            await gate.drain()
            assert (gate.waiting, gate._lanes) == (0, {})
        async with asyncio.timeout(10):
            while await outcome_of(gate, "after") != "held":
                await asyncio.sleep(0.1)
        assert await asyncio.gather(*(outcome_of(gate, name, name) for name in ("beta", "gamma"))) == ["held", "held"]


@on_both_loops
async def test_dead_connections_are_replaced_unseen(database_url: str) -> None:
    """Calls that meet connections which died since they were last used get their verdicts on others."""
    async with gate_on(database_url) as gate:
        names = [f"organization-{number}" for number in range(4)]
        await asyncio.gather(*(outcome_of(gate, "before", name) for name in names))
        for number in range(5):
            assert count_of(database_url, TERMINATE) > 0
            assert {*await asyncio.gather(*(outcome_of(gate, f"{number}", name) for name in names))} == {"held"}


@on_both_loops
async def test_a_connection_that_dies_while_it_waits_is_replaced_too(database_url: str) -> None:
    """Nothing can have been committed before the lock was there, so the batch is settled on another connection."""
    async with gate_on(database_url) as gate:
        assert await outcome_of(gate, "before") == "held"
        with locked(database_url):
            call = asyncio.create_task(outcome_of(gate, "under way"))
            await until_waiting(database_url)
            assert count_of(database_url, TERMINATE) > 0
        assert await call == "held"


@on_both_loops
async def test_calls_on_dying_connections_have_an_answer(database_url: str, seed: int) -> None:
    """Whenever connections are killed, each call ends with a verdict or an unavailable database; no hold is lost."""
    chance = Random(seed)
    acknowledged: set[str] = set()
    outcomes: set[str] = set()
    async with gate_on(database_url) as gate:

        async def work(worker: int) -> None:
            for number in range(60):
                name = f"{worker}-{number}"
                outcome = await outcome_of(gate, name, f"organization-{worker % 3}")
                outcomes.add(outcome)
                if outcome == "held":
                    acknowledged.add(name)

        async with asyncio.timeout(30):
            workers = asyncio.gather(*(work(worker) for worker in range(24)))
            while not workers.done():
                await asyncio.sleep(chance.random() / 10)
                await asyncio.to_thread(count_of, database_url, TERMINATE)
            await workers
    assert outcomes <= {"held", "DatabaseUnavailable"}
    assert acknowledged <= reservation_ids(database_url)


async def test_a_shut_gate_refuses_those_that_wait(database_url: str) -> None:
    """Where the database is known to be away, calls are refused at once, those in the queue too; not so later."""
    async with gate_on(database_url) as gate:
        assert await outcome_of(gate, "opened") == "held"
        with locked(database_url):
            under_way = asyncio.create_task(outcome_of(gate, "under way"))
            await until_waiting(database_url)
            waiting = [asyncio.create_task(outcome_of(gate, f"waiting-{n}")) for n in range(10)]
            await asyncio.sleep(0)
            gate.shut()
            assert {*await asyncio.gather(*waiting)} == {"DatabaseUnavailable"}
            with pytest.raises(DatabaseUnavailable):
                await gate.submit("acme", reserving("refused"))
            assert gate.waiting == 0
        gate.reopen()
        assert await asyncio.gather(under_way, outcome_of(gate, "later")) == ["held", "held"]
