"""Which organizations' budgets or overrides have changed since this was last asked?

Whoever has committed a change tells; what becomes of it is nothing that a call waits for.
"""

from __future__ import annotations

import asyncio

# Organizations that are told apart. A server that changes more within a quarter of a second has other worries.
NAMES_MAX = 10_000

# What stands for every organization: no organization has an empty name.
EVERY = ""


class Changes:
    """The names of changed organizations, each once. For one event loop, and one that waits."""

    __slots__ = ("_names", "_told")

    def __init__(self) -> None:
        """Begin with none."""
        self._names: set[str] = set()
        self._told = asyncio.Event()

    def tell(self, organization: str) -> None:
        """Note that an organization's budgets or overrides have changed: call it after the commit."""
        names = self._names
        if not names:
            self._told.set()
        if len(names) >= NAMES_MAX:
            names.clear()
            names.add(EVERY)
        elif EVERY not in names:
            names.add(organization)

    def drain(self) -> frozenset[str]:
        """Return what was told since the last time; `EVERY` alone if that was too much to tell apart."""
        names = frozenset(self._names)
        self._names.clear()
        self._told.clear()
        return names

    async def wait(self) -> None:
        """Wait until something was told that is not drained."""
        await self._told.wait()
