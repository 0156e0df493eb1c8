"""What do the figures for metrics cost in books that have grown for years?"""

from __future__ import annotations

import json

import psycopg
import pytest

from gatekeeper.storage import metrics

# Budgets that stand, and periods that each of them has had.
BUDGETS, PERIODS = 200, 200
# Budgets of runs, which are never looked at.
RUNS = 50_000
# A thirtieth of what is there; a few pages for each budget.
PAGES_MAX = 2500
# Uncommitted, so that nobody gathers statistics of it meanwhile, and nobody verifies it.
FILL = f"""
SET LOCAL session_replication_role = replica;
INSERT INTO organizations (organization) SELECT 'o' || n FROM generate_series(1, 10) n;
INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds)
SELECT 'o' || n % 10 + 1, 'AGENT', n::text, 'DAY', 100, 'ENFORCE', '{{80}}' FROM generate_series(1, {BUDGETS}) n;
INSERT INTO budgets (organization, scope_kind, scope_id, budget_window, cap, enforcement, thresholds)
SELECT 'o' || n % 10 + 1, 'RUN', n::text, 'TOTAL', 100, 'ENFORCE', '{{80}}' FROM generate_series(1, {RUNS}) n;
INSERT INTO balances (organization, scope_kind, scope_id, budget_window, period, cap, enforcement)
SELECT organization, scope_kind, scope_id, budget_window, to_char(now() - interval '1 d' * d, 'YYYY-MM-DD'), 100, 'WARN'
FROM budgets, generate_series(0, {PERIODS} - 1) d WHERE scope_kind = 'AGENT';
INSERT INTO balances (organization, scope_kind, scope_id, budget_window, period, cap, enforcement)
SELECT organization, scope_kind, scope_id, budget_window, 'total', 100, 'WARN' FROM budgets WHERE scope_kind = 'RUN';
INSERT INTO reservations (organization, reservation_id, amount, state, day, month, created_at, expires_at, ended_at,
    owner, caller, request_digest, priority)
SELECT 'o' || n % 10 + 1, n, 1, CASE WHEN n % 1000 > 0 THEN 'RELEASED' ELSE 'HELD' END, '', '', now(),
    now() + interval '1 h', CASE WHEN n % 1000 > 0 THEN now() END, '', '', '', 'NORMAL'
FROM generate_series(1, 20000) n;
INSERT INTO alerts (organization, kind, subject, message, occurred_at, dispatched_at)
SELECT '', 'TEST', n, '', now(), now() FROM generate_series(1, 20000) n;
INSERT INTO alert_deliveries (organization, alert_id, channel, state, next_attempt_at, delivered_at)
SELECT organization, alert_id, 'log', 'DELIVERED', now(), now() FROM alerts;
INSERT INTO overrides (organization, override_id, scope_kind, scope_id, max_amount, ttl, state, created_at, expires_at,
    reason, ended_at)
SELECT 'o1', n, 'AGENT', 'x', 1, interval '1 h', 'ENDED', now(), now(), 'why', now() FROM generate_series(1, 20000) n;
"""
ANALYZE = "ANALYZE organizations, budgets, balances, reservations, alerts, alert_deliveries, overrides"
STATEMENTS = {"counts": metrics.COUNTS, "fullest": metrics.FULLEST}
GIVEN = {"overdue_after_s": 60, "overdue_max": 1000, "dead_for_days": 7}
GIVEN |= {"budgets_max": 50, "looked_at_max": metrics.LOOKED_AT_MAX, "looked_at_min": metrics.LOOKED_AT_MIN}


@pytest.mark.parametrize("name", STATEMENTS)
def test_plans(database_url: str, name: str) -> None:
    """They cost as much as budgets stand and holds are open, whatever has been before."""
    with psycopg.connect(database_url) as connection:
        connection.execute(FILL.encode())
        connection.execute(ANALYZE)
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {STATEMENTS[name]}"
        row = connection.execute(explain.encode(), GIVEN).fetchone()
        connection.rollback()
    assert row is not None
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < PAGES_MAX, json.dumps(plan, indent=1)
