"""How much of the server may one organization take by reads and changes?

Calls on reservations wait in their organization's lane. All others share few connections: without a limit for each
organization, one that calls often, or whose books are locked, would keep them from the others.
"""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from gatekeeper.domain import errors
from gatekeeper.domain.access import Caller

# What the gate takes in, by rules of its own.
ON_RESERVATIONS = frozenset({"Reserve", "Commit", "Release", "Extend"})
# What goes by the pool for changes; all else reads.
CHANGES = frozenset(
    {
        "SetCap",
        "SetOverride",
        "SetPrice",
        "CreateToken",
        "RevokeToken",
        "TestAlerts",
        "RetryAlerts",
        "SetBillingProfile",
        "CreditInvoice",
    }
)
# What goes by that pool too, and agents may call.
REQUESTS = frozenset({"RequestOverride"})

# Half of the connections for reads, a third of those for changes: what hangs for one organization leaves others some.
UNDER_WAY_MAX = 2
# A fleet of agents that all ask at once how the budgets stand is served, within a second; more is told to come back.
WAITING_MAX = 512


class Party(NamedTuple):
    """Who shares.

    Reads and requests are apart from changes, or those who make them could keep an admin from revoking their tokens.
    Operators (`own` is empty) are apart from the callers of the organization that they ask for, or its admins could
    keep them out.
    """

    changes: bool
    requests: bool
    own: str
    asked: str


def party(rpc: str, caller: Caller, organization: str) -> Party:
    """Return whose share a call counts against that asks for `organization` (empty: for none)."""
    return Party(rpc in CHANGES, rpc in REQUESTS, caller.organization, organization)


class _Share:
    """The calls of a party: all of them are counted, some have a place."""

    __slots__ = ("calls", "places")

    def __init__(self) -> None:
        self.calls = 0
        self.places = Semaphore(UNDER_WAY_MAX)


class Shares:
    """The calls of each party, as long as it has some."""

    def __init__(self) -> None:
        """Begin with none."""
        self._shares: dict[Party, _Share] = {}

    def __len__(self) -> int:
        """Return how many parties have calls."""
        return len(self._shares)

    @asynccontextmanager
    async def place(self, of: Party) -> AsyncIterator[None]:
        """Wait until few enough of a party's calls are under way, in the order they came; then be one of them.

        Raises `QueueFull` at once where too many wait already. Whoever is cancelled no longer waits.
        """
        share = self._shares.get(of)
        if share is None:
            share = self._shares[of] = _Share()
        if share.calls >= UNDER_WAY_MAX + WAITING_MAX:
            raise errors.QueueFull
        share.calls += 1
        try:
            async with share.places:
                yield
        finally:
            share.calls -= 1
            if not share.calls:
                del self._shares[of]
