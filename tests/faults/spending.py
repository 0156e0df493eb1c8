"""How is a budget used up to the last cent, by callers that do not know of each other?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from uuid import UUID

from gatekeeper_client import AsyncClient, AsyncHold, Denied
from gatekeeper_client.aio_hold import Reserving
from gatekeeper_client.v1.reservation_pb2 import DENIAL_REASON_OUT_OF_BUDGET, Execution

from .callers import PAUSE_MAX_S, TRY_TIMEOUT_S, Callers

CENT = Decimal("0.01")
AMOUNT_MAX_CENTS = 20
# No hold ends by itself before its caller has heard of it.
TTL_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """Whose money is spent. `may_exceed`: some calls cost more than they held."""

    organization: str
    campaign: str = ""
    may_exceed: bool = True


class Spending:
    """Callers that each reserve and settle until the budget has not a cent left for them."""

    def __init__(self, clients: Sequence[AsyncClient], seed: int) -> None:
        """Speak through `clients`; who does what follows from `seed`."""
        self.callers = Callers(clients)
        self.executions: list[Execution] = []
        self._seed = seed
        self._rounds = 0

    async def until_spent(self, callers: int, *purses: Purse) -> None:
        """Let so many callers on each server use up one purse after another."""
        self._rounds += 1
        async with asyncio.TaskGroup() as group:
            for place in range(len(self.callers.clients)):
                for number in range(callers):
                    chance = Random(f"{self._seed}-{self._rounds}-{place}-{number}")
                    group.create_task(self._spend_all(chance, place, purses))

    async def spend_rest(self, purse: Purse) -> None:
        """Let one caller use up what those who came last gave back."""
        await self._spend_all(Random(f"{self._seed}-rest"), 0, [purse])

    async def _spend_all(self, chance: Random, place: int, purses: Sequence[Purse]) -> None:
        for purse in purses:
            cents = AMOUNT_MAX_CENTS
            while cents:
                amount = CENT * chance.randint(1, cents)
                if await self._spend(chance, place, purse, amount):
                    continue
                cents = 0 if amount == CENT else 1

    async def _spend(self, chance: Random, place: int, purse: Purse, amount: Decimal) -> bool:
        """Reserve, and settle; return whether there may still be such an amount."""
        reservation_id = str(UUID(int=chance.getrandbits(128), version=4))
        answer = await self.callers.until_answered(chance, _reserve(purse, reservation_id, amount), place)
        if isinstance(answer, Denied):
            await asyncio.sleep(chance.uniform(0, PAUSE_MAX_S))
            return answer.denial.reason != DENIAL_REASON_OUT_OF_BUDGET
        await self._settle(chance, place, purse, answer)
        return True

    async def _settle(self, chance: Random, place: int, purse: Purse, hold: AsyncHold) -> None:
        if chance.random() < 0.1:
            await self.callers.until_answered(
                chance,
                lambda client: client.release(purse.organization, hold.reservation_id, timeout_s=TRY_TIMEOUT_S),
                place,
            )
            return
        cents = int(hold.amount / CENT)
        most = 2 * cents if purse.may_exceed and chance.random() < 0.1 else cents
        cost = hold.amount if chance.random() < 0.7 else CENT * chance.randint(0, most)
        answer = await self.callers.until_answered(
            chance,
            lambda client: client.commit(purse.organization, hold.reservation_id, amount=cost, timeout_s=TRY_TIMEOUT_S),
            place,
        )
        self.executions.append(answer.execution)


def _reserve(purse: Purse, reservation_id: str, amount: Decimal) -> Callable[[AsyncClient], Reserving]:
    return lambda client: client.reserve(
        purse.organization,
        reservation_id=reservation_id,
        campaign=purse.campaign,
        amount=amount,
        ttl=TTL_S,
        timeout_s=TRY_TIMEOUT_S,
    )
