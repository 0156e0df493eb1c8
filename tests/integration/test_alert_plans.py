"""Are alerts found by indexes, however many have been delivered, and whatever PostgreSQL knows of the tables?"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from gatekeeper.storage import alert_deliveries, alerts

DELIVERED, WAITING = 20_000, 20
# A fiftieth of what a walk through one of the tables reads, and some pages for each row that is read and written.
PAGES_MAX = 600
# Uncommitted, so that nobody gathers statistics of it meanwhile.
FILL = f"""
INSERT INTO alerts (organization, kind, message, occurred_at, subject, dispatched_at)
SELECT o, 'TEST', repeat('It is only a test. ', 8), now(), n::text, CASE WHEN n <= {DELIVERED} THEN now() END
FROM unnest(ARRAY['acme', 'other']) o, generate_series(1, {DELIVERED} + {WAITING}) n;
INSERT INTO alert_deliveries (organization, alert_id, channel, state, attempts, next_attempt_at, delivered_at)
SELECT organization, alert_id, c, CASE WHEN is_due THEN 'PENDING' ELSE 'DELIVERED' END, 1, now() - interval '1 hour',
    CASE WHEN NOT is_due THEN now() END
FROM (SELECT *, subject::int > {DELIVERED} - {WAITING} AS is_due FROM alerts WHERE dispatched_at IS NOT NULL) a,
    unnest(ARRAY['log', 'webhook']) c
"""
ANALYZE = "ANALYZE alerts, alert_deliveries"
PAGE = alerts.PAGE.format(conditions="{}")
GIVEN: dict[str, Any] = {
    "organization": "acme",
    "kind": "TEST",
    "after": 15_000,
    "last": "acme",
    "patience": timedelta(days=1),
    "age_max": timedelta(days=31),
    "limit": 4,
    "channel": "webhook",
    "channels": ["log", "webhook"],
    "leases_s": [1.0, 2.0],
}
STATEMENTS = {
    "dispatch": alert_deliveries.DISPATCH,
    "claim": alert_deliveries.CLAIM_FROM_FIRST,
    "claim behind": alert_deliveries.CLAIM_BEHIND,
    "retry": alert_deliveries.RETRY,
    "page": PAGE.format("true"),
    "page behind": PAGE.format("a.alert_id < %(after)s"),
    "page of a kind": PAGE.format("a.kind = %(kind)s"),
}


@pytest.mark.parametrize(
    ("name", "analyzed"),
    [
        *((name, "full") for name in STATEMENTS),
        *((name, "while empty") for name in ("dispatch", "claim", "claim behind")),
    ],
)
def test_plans(database_url: str, name: str, analyzed: str) -> None:
    """What is new or due, and a page of a list, costs the same whatever else there is.

    What every server asks every second does so even with statistics from before there were any alerts.
    """
    with psycopg.connect(database_url) as connection:
        if analyzed == "while empty":
            connection.execute(ANALYZE)
        connection.execute(FILL.encode())
        if analyzed == "full":
            connection.execute(ANALYZE)
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {STATEMENTS[name]}"
        row = connection.execute(explain.encode(), GIVEN).fetchone()
        connection.rollback()
    assert row is not None
    plan = row[0][0]["Plan"]
    shown = json.dumps(plan, indent=1)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES_MAX, shown
    assert '"Seq Scan"' not in shown.replace('"Relation Name": "organizations"', ""), shown
