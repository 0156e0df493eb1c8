"""What do callers of two servers get out of one override together? Exactly what was granted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import TypeVar

import pytest

from gatekeeper_client import AsyncClient, AsyncHold, Denied, from_money
from gatekeeper_client.fields import ScopeKindName

from .wire import Wire

CALLERS = 200
CENTS = Decimal("0.10")
CAP, GRANTED = Decimal("5.00"), Decimal("3.00")
TIMEOUT_S = 60
BOOKED = "SELECT max_amount, reserved, spent FROM overrides WHERE organization = %s ORDER BY max_amount"
STANDING = "SELECT reserved, spent, overridden, excess FROM balances WHERE organization = %s"

T = TypeVar("T")


class Two:
    """An organization, and two servers on its database."""

    def __init__(self, wires: Sequence[Wire], organization: str) -> None:
        """Reach the servers by `wires`."""
        self.organization = organization
        self._wires = wires

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[Sequence[AsyncClient]]:
        """Yield a client of each server, once the organization has a cap."""
        async with AsyncExitStack() as stack:
            opened = [AsyncClient(wire.address, timeout_s=TIMEOUT_S) for wire in self._wires]
            clients = [await stack.enter_async_context(client) for client in opened]
            await clients[0].set_cap(self.organization, cap=CAP)
            yield clients

    async def grant(
        self, client: AsyncClient, amount: Decimal, scope: tuple[ScopeKindName, str] = ("ORGANIZATION", "")
    ) -> str:
        """Turn an override on; return its id."""
        made = await client.set_override(self.organization, scope=scope, enabled=True, max_amount=amount, reason="why")
        return made.override.override_id

    def booked(self) -> list[tuple[Decimal, ...]]:
        """Return amount, reserved and spent of each override, the smallest first."""
        return self._wires[0].sql(BOOKED, self.organization)

    def standing(self) -> tuple[Decimal, ...]:
        """Return reserved, spent, overridden and excess of the budget."""
        (found,) = self._wires[0].sql(STANDING, self.organization)
        return found


@pytest.fixture
def two(wire: Wire, second_wire: Wire, organization: str) -> Two:
    """Return two servers, and an organization that nobody knows yet."""
    return Two((wire, second_wire), organization)


async def together(clients: Sequence[AsyncClient], call: Callable[[AsyncClient, int], Awaitable[T]]) -> list[T]:
    """Have every caller call once, through the servers in turn."""
    return await asyncio.gather(*(call(clients[number % len(clients)], number) for number in range(CALLERS)))


def paid(hold: AsyncHold | Denied) -> Decimal:
    """Return what an override pays for a hold."""
    if isinstance(hold, Denied) or not hold.reservation.HasField("override"):
        return Decimal(0)
    return from_money(hold.reservation.override.amount)


def test_exactly_what_was_granted(two: Two) -> None:
    """Of 200 calls of 0.10 on a cap of 5.00 and an override of 3.00 eighty pass, thirty of them by the override."""

    async def race() -> list[AsyncHold | Denied]:
        async with two.clients() as clients:
            await two.grant(clients[0], GRANTED)
            return await together(clients, lambda client, _: client.reserve(two.organization, amount=CENTS))

    holds = asyncio.run(race())
    assert sum(hold.admitted for hold in holds) == (CAP + GRANTED) / CENTS
    assert Counter(map(paid, holds)) == {CENTS: 30, Decimal(0): CALLERS - 30}
    assert two.booked() == [(GRANTED, GRANTED, 0)]
    assert two.standing() == (CAP + GRANTED, 0, GRANTED, 0)


def test_what_is_given_back_is_paid_again_but_never_twice(two: Two) -> None:
    """While holds under an override are released and committed for less, no instant has more booked than granted."""

    async def spend(client: AsyncClient, number: int) -> Decimal:
        hold = await client.reserve(two.organization, amount=CENTS * (1 + number % 3))
        if isinstance(hold, Denied):
            return Decimal(0)
        if number % 2:
            await hold.release()
            return Decimal(0)
        answer = await client.commit(two.organization, hold.reservation_id, amount=CENTS / 2)
        return from_money(answer.reservation.override.amount)

    async def race() -> Decimal:
        async with two.clients() as clients:
            await clients[0].reserve(two.organization, amount=CAP)
            await two.grant(clients[0], GRANTED)
            costs = [*await together(clients, spend), *await together(clients, spend)]
            return sum(costs, Decimal(0))

    spent = asyncio.run(race())
    assert two.booked() == [(GRANTED, 0, spent)]
    assert two.standing() == (CAP, spent, spent, 0)
    assert 0 < spent <= GRANTED


def test_costs_beyond_the_holds_do_not_overdraw_it(two: Two) -> None:
    """Of 200 callers that hold 0.01 and cost 0.10, no more are let through once costs have used up what was granted."""

    async def spend(client: AsyncClient, _: int) -> Decimal:
        hold = await client.reserve(two.organization, amount=CENTS / 10)
        if isinstance(hold, Denied):
            return Decimal(0)
        answer = await client.commit(two.organization, hold.reservation_id, amount=CENTS)
        assert CENTS / 10 <= from_money(answer.reservation.override.amount) <= CENTS
        return CENTS

    async def race() -> tuple[Decimal, Decimal]:
        async with two.clients() as clients:
            await clients[0].reserve(two.organization, amount=CAP)
            await two.grant(clients[0], GRANTED)
            return sum(await together(clients, spend), Decimal(0)), sum(await together(clients, spend), Decimal(0))

    spent, after = asyncio.run(race())
    assert (spent >= GRANTED, after) == (True, 0)
    assert two.booked() == [(GRANTED, 0, GRANTED)]
    assert two.standing() == (CAP, spent, GRANTED, spent - GRANTED)


def test_several_overrides_pay_their_own(two: Two) -> None:
    """A run's override pays for its calls first, the organization's for the rest; each is used up to the cent."""

    async def race() -> list[AsyncHold | Denied]:
        async with two.clients() as clients:
            await clients[0].reserve(two.organization, amount=CAP)
            await two.grant(clients[0], GRANTED)
            await two.grant(clients[1], 2 * GRANTED, ("RUN", "r"))
            return await together(
                clients,
                lambda client, number: client.reserve(two.organization, amount=CENTS, run="r" if number % 4 else ""),
            )

    holds = asyncio.run(race())
    assert sum(map(paid, holds)) == 3 * GRANTED
    assert two.booked() == [(GRANTED, GRANTED, 0), (2 * GRANTED, 2 * GRANTED, 0)]
    assert two.standing() == (CAP + 3 * GRANTED, 0, 3 * GRANTED, 0)


def test_the_same_call_is_paid_once(two: Two) -> None:
    """Two hundred repetitions of one Reserve, through both servers, and of its Commit, are one use."""

    async def race() -> tuple[int, int]:
        async with two.clients() as clients:
            await clients[0].reserve(two.organization, amount=CAP)
            await two.grant(clients[0], GRANTED)
            holds = await together(
                clients, lambda client, _: client.reserve(two.organization, amount=2, reservation_id="same", ttl=600)
            )
            commits = await together(clients, lambda client, _: client.commit(two.organization, "same", amount="1.5"))
            return len({paid(hold) for hold in holds}), len({str(answer.reservation.override) for answer in commits})

    assert asyncio.run(race()) == (1, 1)
    assert two.booked() == [(GRANTED, 0, Decimal("1.5"))]


def test_off_stops_callers_of_both(two: Two) -> None:
    """No call that begins after an override was turned off is let through; what was booked before stays booked."""

    async def is_admitted(client: AsyncClient, _: int) -> bool:
        return not isinstance(await client.reserve(two.organization, amount=CENTS / 10), Denied)

    async def race() -> tuple[int, int]:
        async with two.clients() as clients:
            await clients[0].reserve(two.organization, amount=CAP)
            override_id = await two.grant(clients[0], 100 * GRANTED)
            before = asyncio.create_task(together(clients, is_admitted))
            assert await is_admitted(clients[1], 0)
            await clients[1].set_override(two.organization, override_id=override_id, enabled=False, reason="why")
            after = await together(clients, is_admitted)
            return 1 + sum(await before), sum(after)

    admitted, passed = asyncio.run(race())
    assert passed == 0
    assert two.booked() == [(100 * GRANTED, admitted * CENTS / 10, 0)]
