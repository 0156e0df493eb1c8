"""What becomes of all that looks on and tells while PostgreSQL is away? It waits, says so, and loses nothing.

Streams of WatchStatus, metrics and readiness over HTTP, alerts on their way, the breaker, burn rates, and the server's
own verification.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import grpc
import psycopg
import pytest

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper_client import AsyncHold
from gatekeeper_client.v1.report_service_pb2 import WatchStatusRequest, WatchStatusResponse
from gatekeeper_client.v1.report_service_pb2_grpc import ReportServiceStub
from tests.conftest import ServerFactory
from tests.integration.alert_receiver import secret_file

from .audit import count, rows
from .callers import PATIENCE_S
from .pages import Pages, free_address, pages_at
from .receiver import Receiver, receiver_of
from .test_outages import HANGS_S, RETURN_S, SERVING, SETTINGS, Line, come_back, go_away, line_to

ORGANIZATION = "acme"
WATCHERS = 20
# A scope that alerts before the outage, one whose burn rate does after it, and one that runs away then.
BEFORE, AFTER, RUNAWAY = "before", "after", "loop"
LOOKING = {
    "GATEKEEPER_ALERT_INTERVAL_S": "0.1",
    "GATEKEEPER_ALERT_TIMEOUT_S": "1",
    "GATEKEEPER_ALERT_RETRY_S": "0.1",
    "GATEKEEPER_ALERT_ATTEMPTS_MAX": "100",
    "GATEKEEPER_BREAKER_PER_MINUTE_MAX": "5",
    "GATEKEEPER_BREAKER_INTERVAL_S": "0.2",
    "GATEKEEPER_BURN_RATE_INTERVAL_S": "0.2",
    "GATEKEEPER_VERIFY_INTERVAL_S": "1",
}
ALERTS = "SELECT kind, scope_kind, basis FROM alerts ORDER BY 1, 2, 3"
ALERTED = [
    ("BURN_RATE", "CAMPAIGN", ""),
    ("RUNAWAY", "RUN", ""),
    ("THRESHOLD", "CAMPAIGN", "SPENT"),
    ("THRESHOLD", "CAMPAIGN", "USED"),
]
VERIFICATIONS = "SELECT count(*) FROM verifications WHERE differences + audit_differences = 0"
FAILED_VERIFICATIONS = "SELECT count(*) FROM verifications WHERE differences + audit_differences > 0"


class Watcher:
    """A stream of WatchStatus that is never made again, and what came of it."""

    def __init__(self, line: Line) -> None:
        """Begin to watch."""
        self.seen: list[WatchStatusResponse] = []
        stub: Any = ReportServiceStub(line.channel)
        self._call = stub.WatchStatus(WatchStatusRequest(organization=ORGANIZATION))
        self._reading = asyncio.create_task(self._read())

    def spent(self, campaign: str) -> int:
        """Return the whole units that were last told to be spent of a campaign."""
        told = [budget.spent.units for each in self.seen for budget in each.budgets if budget.scope.id == campaign]
        return told[-1] if told else 0

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return not self._reading.done()

    async def status(self) -> grpc.StatusCode:
        """Wait until it ends; return how."""
        async with asyncio.timeout(HANGS_S):
            status: grpc.StatusCode = await self._call.code()
        return status

    async def _read(self) -> None:
        async for message in self._call:
            self.seen.append(message)


@pytest.mark.parametrize("how", ["is stopped", pytest.param("hangs", marks=[pytest.mark.slow])])
def test_an_outage_is_seen_and_survived(
    breakable: EmbeddedPostgres, durable_url: str, start_server: ServerFactory, tmp_path: Path, how: str
) -> None:
    """While PostgreSQL is away everybody hears so at once; afterwards streams go on, and no alert is missing."""
    with receiver_of(Random(0)) as receiver:
        http_address = free_address()
        server = start_server(
            database_url=durable_url,
            **SETTINGS | LOOKING,
            GATEKEEPER_HTTP_LISTEN=http_address,
            GATEKEEPER_ALERT_WEBHOOK_URL=receiver.url,
            GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE=str(secret_file(tmp_path, receiver.secret)),
        )

        async def outage() -> None:
            async with line_to(server) as line, pages_at(http_address) as pages:
                await open_budgets(line, durable_url)
                watchers = [Watcher(line) for _ in range(WATCHERS)]
                await until(lambda: all(watcher.seen for watcher in watchers))
                assert (await pages.status("/readyz"), await pages.metric("gatekeeper_database_up")) == (200, 1)
                await spend(line, "0.90", campaign=BEFORE)
                await go_away(breakable, how)
                await _see_it_away(line, pages)
                assert all(watcher.goes_on for watcher in watchers)
                await come_back(breakable, how)
                await line.until(SERVING)
                await _see_it_back(line, pages, watchers, durable_url)
                with suppress(TimeoutError):
                    await until(lambda: rows(durable_url, ALERTS) == ALERTED)
                assert rows(durable_url, ALERTS) == ALERTED
                await _until_delivered(pages, receiver, durable_url)

        asyncio.run(outage())
        assert server.process.poll() is None
    assert receiver.forged == []


async def open_budgets(line: Line, database_url: str) -> None:
    """Open the organization where it is noon, so that burn rates can be told; cap the scopes."""
    await line.client.set_cap(ORGANIZATION, cap=1000)
    zone = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE organizations SET time_zone = %s", [zone])
    await line.client.set_cap(ORGANIZATION, scope=("CAMPAIGN", BEFORE), window="TOTAL", cap=1)
    await line.client.set_cap(ORGANIZATION, scope=("CAMPAIGN", AFTER), window="DAY", cap=10)
    await line.client.set_cap(ORGANIZATION, scope=("RUN", RUNAWAY), window="TOTAL", cap=1000)


async def spend(line: Line, amount: str, *, campaign: str = "", run: str = "") -> None:
    """Hold and commit."""
    hold = await line.client.reserve(ORGANIZATION, amount=amount, campaign=campaign, run=run)
    assert isinstance(hold, AsyncHold)
    await hold.commit(amount=amount)


async def _see_it_away(line: Line, pages: Pages) -> None:
    """Ask everybody whether the database is there: nobody says so, and HTTP answers all the same."""
    async with asyncio.timeout(RETURN_S):
        while await pages.status("/readyz") != 503 or await pages.metric("gatekeeper_database_up") != 0:
            await asyncio.sleep(0.05)
    assert await pages.status("/healthz") == 200
    refused = await asyncio.gather(*(Watcher(line).status() for _ in range(WATCHERS)))
    assert {*refused} == {grpc.StatusCode.UNAVAILABLE}
    assert await line.reserve() == "UNAVAILABLE"
    assert await pages.metric("gatekeeper_database_up") == 0


async def _see_it_back(line: Line, pages: Pages, watchers: list[Watcher], database_url: str) -> None:
    """Spend; every stream of before hears of it, and pages and verification go on."""
    verified = count(database_url, VERIFICATIONS)
    await spend(line, "6", campaign=AFTER, run=RUNAWAY)
    await until(lambda: all(watcher.spent(AFTER) == 6 for watcher in watchers))
    assert all(watcher.goes_on for watcher in watchers)
    await until(lambda: count(database_url, VERIFICATIONS) > verified)
    assert count(database_url, FAILED_VERIFICATIONS) == 0
    async with asyncio.timeout(RETURN_S):
        while await pages.status("/readyz") != 200 or await pages.metric("gatekeeper_database_up") != 1:
            await asyncio.sleep(0.05)


async def _until_delivered(pages: Pages, receiver: Receiver, database_url: str) -> None:
    alert_ids = {alert_id for (alert_id,) in rows(database_url, "SELECT alert_id::text FROM alerts")}
    await until(lambda: receiver.taken.keys() == alert_ids)
    async with asyncio.timeout(RETURN_S):
        while await pages.metric("gatekeeper_alerts_waiting") != 0:
            await asyncio.sleep(0.1)
    assert await pages.metric("gatekeeper_alerts_dead") == 0


async def until(fact: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(fact):
            await asyncio.sleep(0.05)
