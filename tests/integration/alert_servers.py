"""How are alerts made and looked at in tests of servers that deliver them?"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from gatekeeper.domain.alerts import Alert, AlertKind
from gatekeeper.storage.alerts import write_alerts
from tests.contract.wire import until
from tests.integration.alert_receiver import SECRET, secret_file
from tests.integration.trails import connected

# Attempts follow each other at once.
QUICK = {
    "GATEKEEPER_ALERT_INTERVAL_S": "0.05",
    "GATEKEEPER_ALERT_RETRY_S": "0.05",
    "GATEKEEPER_ALERT_TIMEOUT_S": "0.5",
    "GATEKEEPER_ALERT_ATTEMPTS_MAX": "3",
    # Nothing else tells anything.
    "GATEKEEPER_VERIFY_INTERVAL_S": "0",
}
ORGANIZATION = "acme"
OPEN = "INSERT INTO organizations (organization) VALUES (%s) ON CONFLICT DO NOTHING"
DELIVERIES = "SELECT * FROM alert_deliveries ORDER BY alert_id, channel"
UNDER_WAY = """
    SELECT (SELECT count(*) FROM alerts WHERE dispatched_at IS NULL)
         + (SELECT count(*) FROM alert_deliveries WHERE state = 'PENDING' AND channel <> ALL(%s))
"""


def webhook_to(url: str, folder: Path) -> dict[str, str]:
    """Return the settings of a webhook."""
    folder.mkdir()
    file = secret_file(folder, SECRET.decode())
    return {"GATEKEEPER_ALERT_WEBHOOK_URL": url, "GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE": str(file)}


def apprise_to(folder: Path, *urls: str) -> dict[str, str]:
    """Return the setting of Apprise's channels."""
    folder.mkdir()
    return {"GATEKEEPER_ALERT_APPRISE_FILE": str(secret_file(folder, *urls))}


def tell(url: str, count: int = 1, organization: str = ORGANIZATION) -> list[str]:
    """Write alerts as a transaction does that has something to tell; return their ids."""

    async def write() -> list[int]:
        async with connected(url) as connection:
            await connection.execute(OPEN, [organization])
            now = await (await connection.execute("SELECT now()")).fetchone()
            assert now is not None
            alerts = [
                Alert(kind=AlertKind.TEST, message="It is only a test.", occurred_at=now[0], subject=str(uuid.uuid4()))
                for _ in range(count)
            ]
            return await write_alerts(connection, organization, alerts)

    return [str(alert_id) for alert_id in asyncio.run(write())]


def deliveries(url: str, **fields: object) -> list[dict[str, Any]]:
    """Return deliveries that have these fields."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        found = connection.execute(DELIVERIES).fetchall()
    return [row for row in found if fields.items() <= row.items()]


def until_settled(url: str, *but: str, timeout_s: float = 20) -> None:
    """Wait until every delivery has arrived or is dead, but for those on some channels."""

    def settled() -> bool:
        with psycopg.connect(url) as connection:
            return connection.execute(UNDER_WAY, [[*but]]).fetchone() == (0,)

    until(settled, timeout_s)


def lines_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Return what all servers of a test wrote into their log files."""
    for path in sorted(folder.glob("logs-*/budget/alerts.jsonl")):
        yield from map(json.loads, path.read_text().splitlines())
