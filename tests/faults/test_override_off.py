"""How soon does an override begin and end to pay, and how much does it pay at most? At once, and what was granted.

Callers of four servers go on and on while an override is turned on through one of them and off through another; or
race for the last cent of one, while servers are killed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import pytest

from gatekeeper_client import AsyncClient, AsyncHold, Denied, from_money
from gatekeeper_client.v1.reservation_pb2 import Execution

from .audit import rows, sample
from .callers import PATIENCE_S
from .cluster import Cluster, cluster_of
from .killing import Killer
from .spending import CENT, Purse, Spending

SERVERS = 4
ORGANIZATION = "acme"
CAP = Decimal(1)
TTL_S = 3600
# How many calls of each server begin after a change until the next one.
CALLS_BETWEEN = 25
OFF_WITHIN_S = 1
OVERDRAWN = "SELECT count(*) FROM overrides WHERE reserved + spent > max_amount"
OVERRIDES = "SELECT max_amount, reserved, spent FROM overrides"
PAID = "SELECT coalesce(sum(override_amount), 0) FROM executions"
STANDING = "SELECT spent, reserved, overridden FROM balances WHERE scope_kind = 'ORGANIZATION'"
SETTINGS = {"GATEKEEPER_POOL_MAX": "3", "GATEKEEPER_REPORT_POOL_MAX": "2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call without room in its budget: when it began and ended, and whether an override paid for it."""

    begun_s: float
    ended_s: float
    paid: bool


@dataclass(kw_only=True)
class Change:
    """A change that was under way from one instant to another."""

    on: bool
    begun_s: float
    ended_s: float


@dataclass(kw_only=True)
class Watch:
    """Callers that call a server all the time, and what they saw; by its place."""

    clients: Sequence[AsyncClient]
    calls: list[list[Call]] = field(default_factory=lambda: [[] for _ in range(SERVERS)])
    stopped: bool = False

    async def call(self, place: int) -> None:
        """Reserve a cent again and again."""
        while not self.stopped:
            begun_s = time.monotonic()
            answer = await self.clients[place].reserve(ORGANIZATION, amount=CENT, ttl=TTL_S)
            paid = isinstance(answer, AsyncHold) and answer.reservation.HasField("override")
            assert paid == isinstance(answer, AsyncHold)
            self.calls[place].append(Call(begun_s=begun_s, ended_s=time.monotonic(), paid=paid))

    async def until_seen(self, change: Change) -> None:
        """Wait until enough calls of each server began after a change."""
        async with asyncio.timeout(PATIENCE_S):
            while not all(self._seen(calls, change) for calls in self.calls):
                await asyncio.sleep(0.01)

    @staticmethod
    def _seen(calls: Sequence[Call], change: Change) -> bool:
        return sum(call.begun_s > change.ended_s for call in calls[-2 * CALLS_BETWEEN :]) >= CALLS_BETWEEN


@pytest.mark.parametrize(
    ("changes", "callers"), [(4, 4), pytest.param(40, 25, marks=[pytest.mark.slow])], ids=["quick", "full"]
)
def test_on_and_off_at_once_everywhere(database_url: str, seed: int, changes: int, callers: int) -> None:
    """Under load, each call of each server that begins after an override is off is denied; while it is on, none is."""
    with cluster_of(SERVERS, database_url, **SETTINGS) as cluster:
        asyncio.run(_turn_on_and_off(cluster, Random(seed), changes, callers))


async def _turn_on_and_off(cluster: Cluster, chance: Random, changes: int, callers: int) -> None:
    async with cluster.clients() as clients:
        await _use_up(clients[0])
        watch = Watch(clients=clients)
        made: list[Change] = []
        async with asyncio.TaskGroup() as group:
            for place in range(SERVERS):
                for _ in range(callers):
                    group.create_task(watch.call(place))
            for number in range(changes):
                made.append(await _turn(chance.choice(clients), on=number % 2 == 0))
                await watch.until_seen(made[-1])
            watch.stopped = True
    for calls in watch.calls:
        _compare(calls, made)


async def _turn(client: AsyncClient, *, on: bool) -> Change:
    begun_s = time.monotonic()
    if on:
        answer = await client.set_override(ORGANIZATION, enabled=True, max_amount="1000", ttl=TTL_S, reason="urgent")
        assert answer.override.override_id
    else:
        answer = await client.set_override(ORGANIZATION, enabled=False, reason="over")
        assert len(answer.ended) == 1
    return Change(on=on, begun_s=begun_s, ended_s=time.monotonic())


def _compare(calls: Sequence[Call], changes: Sequence[Change]) -> None:
    """Hold what the callers of one server saw against what was changed."""
    ends = [*(change.begun_s for change in changes[1:]), float("inf")]
    for change, end_s in zip(changes, ends, strict=True):
        between = [call for call in calls if change.ended_s < call.begun_s and call.ended_s < end_s]
        assert between
        assert {call.paid for call in between} == {change.on}
        if not change.on:
            last_s = max((call.ended_s for call in calls if call.paid and call.ended_s < end_s), default=0)
            assert last_s - change.ended_s < OFF_WITHIN_S


@pytest.mark.parametrize(
    ("callers", "max_amount", "calm"),
    [(10, Decimal(20), 50), pytest.param(100, Decimal(300), 300, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
    ids=["quick", "full"],
)
def test_no_race_overdraws(durable_url: str, seed: int, callers: int, max_amount: Decimal, calm: int) -> None:
    """However many race for an override while servers die, it pays what was granted, to the cent, and no more."""
    with cluster_of(SERVERS, durable_url, **SETTINGS) as cluster:
        executions = asyncio.run(_race(cluster, seed, callers, max_amount, calm))
    assert sum(from_money(execution.override_amount) for execution in executions) == max_amount
    assert rows(durable_url, OVERRIDES) == [(max_amount, 0, max_amount)]
    assert rows(durable_url, PAID) == [(max_amount,)]
    assert rows(durable_url, STANDING) == [(CAP + max_amount, 0, max_amount)]


async def _race(cluster: Cluster, seed: int, callers: int, max_amount: Decimal, calm: int) -> list[Execution]:
    async with cluster.clients() as clients:
        await _use_up(clients[0])
        await clients[0].set_override(ORGANIZATION, enabled=True, max_amount=max_amount, ttl=TTL_S, reason="urgent")
        sampling = asyncio.create_task(sample(cluster.database_url, OVERDRAWN))
        spending, purse = Spending(clients, seed), Purse(organization=ORGANIZATION, may_exceed=False)
        killer = Killer(cluster=cluster, callers=spending.callers, chance=Random(seed), calm=calm)
        await killer.during(spending.until_spent(callers, purse))
        assert spending.callers.retries, "no kill was felt"
        await spending.spend_rest(purse)
        sampling.cancel()
        assert set(await sampling) == {0}
        return spending.executions


async def _use_up(client: AsyncClient) -> None:
    """Spend all that the budget has."""
    await client.set_cap(ORGANIZATION, cap=CAP)
    hold = await client.reserve(ORGANIZATION, amount=CAP)
    assert isinstance(hold, AsyncHold)
    await hold.commit(amount=CAP)
    assert isinstance(await client.reserve(ORGANIZATION, amount=CENT), Denied)
