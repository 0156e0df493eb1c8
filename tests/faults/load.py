"""How does a test know what must be in the ledger? By keeping every answer that was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from uuid import UUID

from gatekeeper_client import AsyncClient, AsyncHold, Denied, from_money
from gatekeeper_client.v1.reservation_pb2 import Execution

from .callers import TRY_TIMEOUT_S, Callers

ORGANIZATIONS = ("acme", "acme", "acme", "beta")
CAMPAIGNS = ("roomy", "roomy", "tight")
TIGHT_CAP = Decimal(10)
CAP = Decimal(100_000)
# Holds that are settled outlive every outage; those that are left alone are soon over.
TTL_S, TTL_LEFT_S = 3600, 2


@dataclass(kw_only=True)
class Hold:
    """What was acknowledged of one reservation; `execution` once it is committed."""

    organization: str
    campaign: str
    reserved: Decimal
    amount: Decimal
    ttl_s: int
    execution: Execution | None = None
    released: bool = False

    @property
    def state(self) -> str:
        """The state that it must have in the end."""
        if self.execution is not None:
            return "COMMITTED"
        return "RELEASED" if self.released else "EXPIRED"


@dataclass(kw_only=True)
class Acknowledged:
    """All that was acknowledged."""

    holds: dict[str, Hold] = field(default_factory=dict)
    denied: int = 0


class Load:
    """Workers that reserve and settle through several servers until they are stopped, and give up nothing before."""

    def __init__(self, clients: Sequence[AsyncClient], seed: int) -> None:
        """Speak through `clients`; what the workers do follows from `seed`."""
        self.acknowledged = Acknowledged()
        self.callers = Callers(clients)
        self._seed = seed
        self._stopped = False

    async def prepare(self) -> None:
        """Open the organizations, with a campaign that soon has no room."""
        for organization in dict.fromkeys(ORGANIZATIONS):
            await self.callers.clients[0].set_cap(organization, cap=CAP)
            await self.callers.clients[0].set_cap(organization, scope=("CAMPAIGN", "tight"), cap=TIGHT_CAP)

    async def run(self, workers: int) -> None:
        """Work until `stop` is called."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(Random(f"{self._seed}-{number}")))

    def stop(self) -> None:
        """Let each worker end what it has begun."""
        self._stopped = True

    async def _work(self, chance: Random) -> None:
        while not self._stopped:
            await self._reserve_and_settle(chance)

    async def _reserve_and_settle(self, chance: Random) -> None:
        reservation_id = str(UUID(int=chance.getrandbits(128), version=4))
        ending = chance.choice((self._commit, self._commit, self._release, self._extend_and_commit, None))
        amount = _nanos(chance, 1, 500_000_000)
        hold = Hold(
            organization=chance.choice(ORGANIZATIONS),
            campaign=chance.choice(CAMPAIGNS),
            reserved=amount,
            amount=amount,
            ttl_s=TTL_S if ending else TTL_LEFT_S,
        )
        answer = await self.callers.until_answered(chance, lambda client: reserve(client, reservation_id, hold))
        if isinstance(answer, Denied):
            assert answer.denial.message
            self.acknowledged.denied += 1
            return
        self.acknowledged.holds[reservation_id] = hold
        if ending is not None:
            await ending(chance, reservation_id, hold)

    async def _commit(self, chance: Random, reservation_id: str, hold: Hold) -> None:
        cost = _nanos(chance, 0, int(hold.amount.scaleb(9)))
        answer = await self.callers.until_answered(
            chance,
            lambda client: client.commit(hold.organization, reservation_id, amount=cost, timeout_s=TRY_TIMEOUT_S),
        )
        assert (from_money(answer.execution.cost), answer.late) == (cost, False)
        hold.execution = answer.execution

    async def _release(self, chance: Random, reservation_id: str, hold: Hold) -> None:
        await self.callers.until_answered(
            chance, lambda client: client.release(hold.organization, reservation_id, timeout_s=TRY_TIMEOUT_S)
        )
        hold.released = True

    async def _extend_and_commit(self, chance: Random, reservation_id: str, hold: Hold) -> None:
        more = hold.amount + _nanos(chance, 1, 100_000_000)
        answer = await self.callers.until_answered(
            chance,
            lambda client: client.extend(hold.organization, reservation_id, amount=more, timeout_s=TRY_TIMEOUT_S),
        )
        if answer.HasField("reservation"):
            hold.amount = more
        await self._commit(chance, reservation_id, hold)


async def reserve(client: AsyncClient, reservation_id: str, hold: Hold) -> AsyncHold | Denied:
    """Ask for a hold; the same again for the same hold."""
    return await client.reserve(
        hold.organization,
        reservation_id=reservation_id,
        campaign=hold.campaign,
        amount=hold.reserved,
        ttl=hold.ttl_s,
        timeout_s=TRY_TIMEOUT_S,
    )


def _nanos(chance: Random, least: int, most: int) -> Decimal:
    return Decimal(chance.randint(least, most)).scaleb(-9)
