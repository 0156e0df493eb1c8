"""What do channels that are dead cost those who spend? Nothing; and whoever looks sees which alerts did not arrive.

A webhook and two chats that refuse every connection, or take it and never say a word.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatekeeper_client import AsyncClient, AsyncHold
from gatekeeper_client.v1.alert_pb2 import DELIVERY_STATE_DEAD, DELIVERY_STATE_DELIVERED
from tests.conftest import ServerFactory
from tests.integration.alert_servers import apprise_to, webhook_to

from .audit import rows
from .pages import Pages, free_address, pages_at

ORGANIZATION = "acme"
CAMPAIGNS = 2
# Each campaign crosses three thresholds, by what is spent and by what is held.
ALERTS = 6 * CAMPAIGNS
CALLS = 200
AT_ONCE = 20
CHANNELS = ("webhook", "apprise-1", "apprise-2")
SECRETS = ("not-to-be-told", "nor-this")
PATIENCE_S = 60
SETTINGS = {
    "GATEKEEPER_ALERT_INTERVAL_S": "0.05",
    "GATEKEEPER_ALERT_TIMEOUT_S": "0.2",
    "GATEKEEPER_ALERT_RETRY_S": "0.05",
    "GATEKEEPER_ALERT_ATTEMPTS_MAX": "2",
    "GATEKEEPER_VERIFY_INTERVAL_S": "0",
    "GATEKEEPER_BURN_RATE_INTERVAL_S": "3600",
}
UNDER_WAY = """
    SELECT (SELECT count(*) FROM alerts WHERE dispatched_at IS NULL)
         + (SELECT count(*) FROM alert_deliveries WHERE state = 'PENDING')
"""
ERRORS = "SELECT DISTINCT last_error FROM alert_deliveries WHERE state = 'DEAD'"


@contextmanager
def dead(how: str) -> Iterator[str]:
    """Yield HOST:PORT where connections are refused, or taken by nobody who ever says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        if how == "refuses":
            listener.close()
            yield free_address()
        else:
            yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_dead_channels_cost_no_verdict(
    start_server: ServerFactory, database_url: str, tmp_path: Path, how: str
) -> None:
    """Every call has its verdict; every alert is in the log, and dead on each channel, where it can be seen."""
    http_address = free_address()
    with dead(how) as place:
        port = place.rpartition(":")[2]
        # What hangs in a library is waited for: they say for how long.
        chats = [f"json://127.0.0.1:{port}/{secret}?rto=0.4&cto=0.4" for secret in SECRETS]
        server = start_server(
            database_url=database_url,
            **SETTINGS,
            **webhook_to(f"http://{place}/{SECRETS[0]}", tmp_path / "webhook"),
            **apprise_to(tmp_path / "apprise", *chats),
            GATEKEEPER_HTTP_LISTEN=http_address,
            GATEKEEPER_LOGS_DIR=str(tmp_path / "told"),
        )

        async def work() -> None:
            async with AsyncClient(server.address, timeout_s=PATIENCE_S) as client, pages_at(http_address) as pages:
                await _spend(client)
                async with asyncio.timeout(PATIENCE_S):
                    while await asyncio.to_thread(rows, database_url, UNDER_WAY) != [(0,)]:
                        assert await _holds(client)
                await _see_them_dead(client, pages)

        asyncio.run(work())
    told = [json.loads(line) for line in (tmp_path / "told" / "budget" / "alerts.jsonl").read_text().splitlines()]
    assert len(told) == ALERTS
    errors = " ".join(error for (error,) in rows(database_url, ERRORS))
    assert errors
    assert not any(secret in errors for secret in SECRETS)


async def _spend(client: AsyncClient) -> None:
    """Use up the campaigns; every call has a verdict."""
    for number in range(CAMPAIGNS):
        await client.set_cap(ORGANIZATION, scope=("CAMPAIGN", f"{number}"), cap=CALLS // CAMPAIGNS)

    async def call(number: int) -> None:
        hold = await client.reserve(ORGANIZATION, amount=1, campaign=f"{number % CAMPAIGNS}")
        assert isinstance(hold, AsyncHold)
        await hold.commit(amount=1)

    for first in range(0, CALLS, AT_ONCE):
        await asyncio.gather(*map(call, range(first, first + AT_ONCE)))


async def _holds(client: AsyncClient) -> bool:
    """Return whether a call is admitted, and not kept."""
    hold = await client.reserve(ORGANIZATION, amount=1)
    if isinstance(hold, AsyncHold):
        await hold.release()
    return isinstance(hold, AsyncHold)


async def _see_them_dead(client: AsyncClient, pages: Pages) -> None:
    """Compare what ListAlerts and metrics say."""
    listed = [alert async for alert in client.list_alerts(ORGANIZATION, delivery_state="DEAD", page_size=5)]
    assert len({alert.alert_id for alert in listed}) == len(listed) == ALERTS
    states = Counter((delivery.channel, delivery.state) for alert in listed for delivery in alert.deliveries)
    dead_ones = {(channel, DELIVERY_STATE_DEAD): ALERTS for channel in CHANNELS}
    assert states == Counter(dead_ones | {("log", DELIVERY_STATE_DELIVERED): ALERTS})
    async with asyncio.timeout(PATIENCE_S):
        while await pages.metric("gatekeeper_alerts_dead") != ALERTS * len(CHANNELS):
            await asyncio.sleep(0.1)
    assert await pages.metric("gatekeeper_alerts_waiting") == 0
