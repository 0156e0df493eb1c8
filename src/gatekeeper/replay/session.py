"""How does a replay run, from the first call to the last expired hold?"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from gatekeeper_client import AsyncClient, GatekeeperError, NotFound

from .driver import Driver, Plan
from .expiry import await_expiry
from .progress import Display
from .rows import Row
from .source import Unreadable
from .tally import Tally
from .timeline import Timeline


class NotReachableError(Exception):
    """A server did not answer before the first call was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a server is, and what opens a client of it inside the event loop."""

    address: str
    connect: Callable[[], AsyncClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is replayed, to which servers, and whether to wait for the holds that nobody settles."""

    plan: Plan
    servers: Sequence[Server]
    spread_s: float
    wait: bool

    async def run(
        self, rows: Iterable[Row | Unreadable], complain: Callable[[Unreadable], None], display: Display
    ) -> Tally:
        """Replay `rows`, telling `complain` of those that cannot be read. SIGINT and SIGTERM end it early.

        Raises `NotReachableError`.
        """
        tally = Tally()
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(server.connect()) for server in self.servers]
            for client, server in zip(clients, self.servers, strict=True):
                await _require_answer(client, self.plan.organization, server.address)
            driver = Driver(self.plan, clients, tally)
            with _stopped_by_signals(driver.stop), display.watching(tally):
                await driver.run(self._calls(_readable(rows, tally, complain), display))
                if self.wait and tally.open:
                    display.expiring()
                    await self._await_expiry(clients[0], tally, driver)
        return tally

    def _calls(self, rows: Iterable[Row], display: Display) -> Iterable[tuple[float, Row]]:
        """Put the rows on the timeline; at once they go as they come, without being gathered first."""
        if not self.plan.speed:
            return ((0.0, row) for row in rows)
        timeline = Timeline(rows, self.spread_s)
        display.fraction = lambda tally: tally.calls / max(1, len(timeline))
        return timeline

    async def _await_expiry(self, client: AsyncClient, tally: Tally, driver: Driver) -> None:
        try:
            await await_expiry(client, self.plan.organization, tally, driver.pause)
        except GatekeeperError as error:
            tally.fail("list", error)


def _readable(rows: Iterable[Row | Unreadable], tally: Tally, complain: Callable[[Unreadable], None]) -> Iterator[Row]:
    for row in rows:
        if isinstance(row, Unreadable):
            tally.skipped += 1
            complain(row)
        else:
            yield row


async def _require_answer(client: AsyncClient, organization: str, address: str) -> None:
    """Find out before the first call whether there is a server; it need not know the organization yet."""
    try:
        await client.get_status(organization)
    except NotFound:
        return
    except GatekeeperError as error:
        message = f"{address} does not take calls: {error}"
        raise NotReachableError(message) from None


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Stop at the first signal; a second one ends the program as usual."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop_once() -> None:
        stop()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, stop_once)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
