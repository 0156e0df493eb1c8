"""Does each organization get its share of reads and changes, and no more?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from gatekeeper.domain.access import ANYONE, RIGHTS, Caller, Role
from gatekeeper.domain.errors import OrganizationNotFound, QueueFull
from gatekeeper.rpc.shares import CHANGES, ON_RESERVATIONS, REQUESTS, UNDER_WAY_MAX, WAITING_MAX, Party, Shares, party

OURS, THEIRS = (party("SetCap", ANYONE, name) for name in ("ours", "theirs"))


class Crowd:
    """Calls that stay until they are told to end."""

    def __init__(self) -> None:
        """Begin without calls."""
        self.shares = Shares()
        self.under_way: list[tuple[Party, int]] = []
        self.most = 0
        self.end = asyncio.Event()

    def come(self, of: Party, count: int) -> list[asyncio.Task[None]]:
        """Let calls come."""
        return [asyncio.create_task(self._call(of, number)) for number in range(count)]

    async def _call(self, of: Party, number: int) -> None:
        async with self.shares.place(of):
            self.under_way.append((of, number))
            self.most = max(self.most, len(self.under_way))
            try:
                await self.end.wait()
                # Let others in, if any may.
                await asyncio.sleep(0)
            finally:
                self.under_way.remove((of, number))


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


def crowded(test: Callable[[Crowd], Awaitable[None]]) -> None:
    """Run a test with a crowd of its own; nothing is kept of it afterwards."""

    async def run() -> None:
        crowd = Crowd()
        await test(crowd)
        assert (len(crowd.shares), crowd.under_way) == (0, [])

    asyncio.run(run())


def test_a_share_has_an_end() -> None:
    """Few are under way at a time, some wait and are served in the end, and the rest are refused at once."""

    async def test(crowd: Crowd) -> None:
        calls = crowd.come(OURS, UNDER_WAY_MAX + WAITING_MAX + 7)
        await settle()
        refused = [call for call in calls if call.done()]
        assert refused == calls[-7:]
        assert {type(call.exception()) for call in refused} == {QueueFull}
        assert crowd.under_way == [(OURS, number) for number in range(UNDER_WAY_MAX)]
        crowd.end.set()
        await asyncio.gather(*calls[:-7])
        assert crowd.most == UNDER_WAY_MAX

    crowded(test)


def test_nobody_takes_from_anothers_share() -> None:
    """While one organization's share is used up, another's calls are under way at once."""

    async def test(crowd: Crowd) -> None:
        flood = crowd.come(OURS, 500)
        await settle()
        others = crowd.come(THEIRS, UNDER_WAY_MAX)
        await settle()
        assert crowd.under_way[UNDER_WAY_MAX:] == [(THEIRS, number) for number in range(UNDER_WAY_MAX)]
        for call in flood + others:
            call.cancel()
        await asyncio.gather(*flood, *others, return_exceptions=True)

    crowded(test)


def test_who_gives_up_leaves_the_queue() -> None:
    """A place in the queue is free again at once, and so is the place of one that was under way."""

    async def test(crowd: Crowd) -> None:
        calls = crowd.come(OURS, UNDER_WAY_MAX + WAITING_MAX)
        await settle()
        gone = [calls[0], *calls[UNDER_WAY_MAX + 1 : UNDER_WAY_MAX + 4]]
        for call in gone:
            call.cancel()
        await settle()
        assert all(call.cancelled() for call in gone)
        assert crowd.under_way == [(OURS, number) for number in range(1, UNDER_WAY_MAX + 1)]
        late = crowd.come(OURS, len(gone) + 1)
        await settle()
        assert [call.done() for call in late] == [False] * len(gone) + [True]
        assert isinstance(late.pop().exception(), QueueFull)
        crowd.end.set()
        await asyncio.gather(*late, *(call for call in calls if call not in gone))
        assert crowd.most == UNDER_WAY_MAX

    crowded(test)


def test_one_that_is_cancelled_as_its_turn_comes() -> None:
    """Its turn goes on to the next."""

    async def test(crowd: Crowd) -> None:
        shares = crowd.shares
        async with AsyncExitStack() as first:
            for _ in range(UNDER_WAY_MAX):
                await first.enter_async_context(shares.place(OURS))
            hasty, patient = crowd.come(OURS, 2)
            await settle()
        hasty.cancel()
        crowd.end.set()
        await patient
        assert hasty.cancelled()

    crowded(test)


def test_names_are_not_kept() -> None:
    """However many organizations are asked for, nothing is kept of those without calls under way."""

    async def test(crowd: Crowd) -> None:
        async def fail(organization: str) -> None:
            async with crowd.shares.place(party("GetStatus", ANYONE, organization)):
                assert len(crowd.shares) == 1
                raise OrganizationNotFound(organization=organization)

        for number in range(1000):
            with pytest.raises(OrganizationNotFound):
                await fail(str(number))
        assert len(crowd.shares) == 0

    crowded(test)


def test_who_shares() -> None:
    """Reads and requests keep no admin from changes, nor an organization's admins an operator from its tokens."""
    admin = Caller(caller_id="1", name="admin", role=Role.ADMIN, organization="ours")
    viewer = Caller(caller_id="2", name="viewer", role=Role.VIEWER, organization="ours")
    agent = Caller(caller_id="4", name="agent", role=Role.AGENT, organization="ours")
    operator = Caller(caller_id="3", name="operator", role=Role.OPERATOR)
    parties = {
        party("ListAuditEvents", viewer, "ours"),
        party("RequestOverride", agent, "ours"),
        party("RevokeToken", admin, "ours"),
        party("RevokeToken", operator, "ours"),
        party("RevokeToken", operator, "theirs"),
        party("RevokeToken", operator, ""),
    }
    assert len(parties) == 6
    assert party("ListAuditEvents", viewer, "ours") == party("GetStatus", admin, "ours")


def test_shares_are_of_rpcs_that_exist() -> None:
    """What is named apart is an RPC, and in one place only."""
    assert RIGHTS.keys() >= ON_RESERVATIONS | CHANGES | REQUESTS
    assert not ON_RESERVATIONS & CHANGES
    assert not REQUESTS & (ON_RESERVATIONS | CHANGES)
