"""How does a ledger of millions of executions come about in minutes?

By SQL, on a migrated database whose organization has its caps already: past calls of the benchmark's organization,
spread evenly over the last 300 days, each with its reservation, and balances that agree with them (`gatekeeper verify`
passes). They are of several campaigns, departments, agent types, models and outcomes, as reports add them up. Ids are
UUIDv7 of the time of the call, as clients make them. Secondary indexes are dropped meanwhile. Ten million take some
five minutes and nine gigabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from benchmarks.bench import ORGANIZATION
from benchmarks.calls import AGENTS, CAMPAIGN

if TYPE_CHECKING:
    from collections.abc import Callable

BYTES_EACH: Final = 1_300  # what an execution and its reservation take at most while they are written, WAL included
STEP: Final = 500_000  # rows between two signs of life
# Each run makes so many calls before the next one begins.
CALLS_OF_RUN: Final = 100
# What runs are for, in turns; the first campaign has a cap, as it has in every scenario. An agent has one department.
CAMPAIGNS: Final = (CAMPAIGN, "spring", "autumn", "")
DEPARTMENTS: Final = ("marketing", "sales", "")
AGENT_TYPES: Final = ("content", "seo")
MODELS: Final = ("claude-sonnet-4-5", "gpt-4o", "gpt-4o-mini")

# For this session alone; nothing of it stays for what is measured.
SESSION: Final = """
SET TimeZone = 'UTC'; SET synchronous_commit = off; SET maintenance_work_mem = '512MB'; SET jit = off
"""

# Reservations number `first` to `last` of `total`, committed three seconds after they were made.
RESERVATIONS: Final = """
INSERT INTO reservations (
    organization, reservation_id, campaign, department, agent, run, agent_type, model, amount, state, day, month,
    created_at, expires_at, ended_at, ended_by, owner, caller, priority, request_digest, commit_digest, committed
)
SELECT
    %(organization)s,
    substr(ms, 1, 8) || '-' || substr(ms, 9) || '-7' || substr(noise, 1, 3)
        || '-8' || substr(noise, 4, 3) || '-' || substr(noise, 7, 12),
    (%(campaigns)s::text[])[1 + call / %(calls_of_run)s %% cardinality(%(campaigns)s::text[])],
    (%(departments)s::text[])[1 + call / %(calls_of_run)s %% %(agents)s %% cardinality(%(departments)s::text[])],
    'agent-' || lpad((call / %(calls_of_run)s %% %(agents)s)::text, 2, '0'),
    'past-' || call / %(calls_of_run)s,
    (%(agent_types)s::text[])[1 + call / %(calls_of_run)s %% %(agents)s %% cardinality(%(agent_types)s::text[])],
    (%(models)s::text[])[1 + call %% cardinality(%(models)s::text[])],
    0.01, 'COMMITTED',
    to_char(made, 'YYYY-MM-DD'), to_char(made, 'YYYY-MM'),
    made, made + interval '10 minutes', made + interval '3 seconds', 'COMMIT', 'fill', '', 'NORMAL',
    sha256(noise::bytea), sha256(noise::bytea), 0.005 + call %% 5000 * 0.000001
FROM (
    SELECT
        call, md5(call::text) AS noise, made,
        lpad(to_hex((extract(epoch FROM made) * 1000)::bigint), 12, '0') AS ms
    FROM (
        SELECT call, now() - interval '300 days' * ((%(total)s - call)::float8 / %(total)s) - interval '1 hour' AS made
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS call
    ) AS calls
) AS ids
"""

# What those reservations ended in.
EXECUTIONS: Final = """
INSERT INTO executions (
    organization, reservation_id, kind, campaign, department, agent, run, agent_type, model, day, month, committed_at,
    cost, reserved_amount, outcome, input_tokens, output_tokens, latency
)
SELECT
    organization, reservation_id, 'COMMIT', campaign, department, agent, run, agent_type, model, day, month, ended_at,
    committed, amount, CASE WHEN get_byte(request_digest, 0) < 13 THEN 'FAILED' ELSE 'SUCCEEDED' END,
    1500, 500, interval '3 seconds'
FROM reservations WHERE organization = %(organization)s AND run LIKE 'past-%%'
"""

# How the budgets stand after that: one balance for each month.
BALANCES: Final = """
INSERT INTO balances (organization, scope_kind, scope_id, budget_window, period, cap, enforcement, spent)
SELECT b.organization, b.scope_kind, b.scope_id, b.budget_window, e.month, b.cap, b.enforcement, sum(e.cost)
FROM executions AS e JOIN budgets AS b ON b.organization = e.organization
WHERE e.organization = %(organization)s AND e.run LIKE 'past-%%' AND b.budget_window = 'MONTH'
    AND (b.scope_kind = 'ORGANIZATION' OR b.scope_kind = 'CAMPAIGN' AND b.scope_id = e.campaign)
GROUP BY b.organization, b.scope_kind, b.scope_id, b.budget_window, e.month
ON CONFLICT (organization, scope_kind, scope_id, budget_window, period) DO UPDATE
SET spent = balances.spent + excluded.spent
"""

# Indexes that no constraint stands on.
INDEXES: Final = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid IN ('reservations'::regclass, 'executions'::regclass) AND NOT indisprimary
"""


def fill(database_url: str, executions: int, say: Callable[[str], None]) -> None:
    """Add so many executions to the benchmark's organization; leave tables vacuumed and WAL written."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SESSION)
        indexes = connection.execute(INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for first in range(1, executions + 1, STEP):
            last = min(first + STEP - 1, executions)
            connection.execute(RESERVATIONS, _parameters(total=executions, first=first, last=last))
            say(f"filled {last:,} reservations")
        connection.execute(EXECUTIONS, _parameters())
        say("filled their executions")
        connection.execute(BALANCES, _parameters())
        for name, definition in indexes:
            connection.execute(definition)
            say(f"built {name}")
        connection.execute("VACUUM (FREEZE, ANALYZE) reservations, executions")
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_size_pretty(pg_database_size(current_database()))").fetchone()
        say(f"the ledger takes {row[0] if row else 'nothing'}")


def _parameters(**numbers: int) -> dict[str, Any]:
    """Return what the statements take, in one shape for all of them."""
    return {
        "organization": ORGANIZATION,
        "campaigns": list(CAMPAIGNS),
        "departments": list(DEPARTMENTS),
        "agent_types": list(AGENT_TYPES),
        "models": list(MODELS),
        "agents": AGENTS,
        "calls_of_run": CALLS_OF_RUN,
        **numbers,
    }
