"""Is a run or an agent stopped that spends as if it had run away, and nobody else?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.breaker import BreakerLimits
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services.breaker import Breaker
from gatekeeper.services.budgets import Budgets
from gatekeeper.services.changes import Changes
from gatekeeper.storage import breaker as storage
from gatekeeper.storage.turns import OURS, Turn
from gatekeeper_client import Client, Denied, Hold
from gatekeeper_client.v1.reservation_pb2 import DENIAL_REASON_BUDGET_FROZEN
from tests.conftest import ServerFactory, url_of
from tests.contract.wire import until
from tests.integration.busy_books import copied
from tests.integration.trails import pooled

QUICK = {"GATEKEEPER_BREAKER_PER_MINUTE_MAX": "1", "GATEKEEPER_BREAKER_INTERVAL_S": "0.1"}
TOLD = "SELECT scope_id, budget_window, subject, message FROM alerts WHERE kind = 'RUNAWAY' ORDER BY alert_id"
BUDGETS = """
SELECT scope_kind, scope_id, budget_window, cap, enforcement, frozen, revision, reason FROM budgets
WHERE scope_kind <> 'ORGANIZATION' ORDER BY scope_kind, scope_id, budget_window
"""
EVENTS = "SELECT action, actor, actor_role, subject, reason FROM audit_events WHERE actor = 'breaker' ORDER BY event_id"
OPEN = "INSERT INTO organizations (organization) VALUES ('acme')"
# An entry of the billing log that no reservation stands behind, so many seconds ago.
SPENT = """
INSERT INTO executions (organization, reservation_id, kind, department, campaign, agent, run, agent_type, task, model,
    day, month, committed_at, cost, reserved_amount, outcome)
SELECT 'acme', gen_random_uuid()::text, CASE WHEN %(cost)s::numeric < 0 THEN 'REVERSAL' ELSE 'COMMIT' END, '', '',
    %(agent)s, %(run)s, '', '', '', to_char(at, 'YYYY-MM-DD'), to_char(at, 'YYYY-MM'), at, %(cost)s, 1, 'SUCCEEDED'
FROM (SELECT clock_timestamp() - make_interval(secs => %(ago_s)s) AS at) AS t
"""


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def told(url: str) -> list[str]:
    """Return whose runaways were told, in order."""
    return [row[0] for row in rows(url, TOLD)]


def spend(client: Client, amount: str, times: int = 1, **call: Any) -> None:
    for _ in range(times):
        hold = client.reserve("acme", amount=amount, **call)
        assert isinstance(hold, Hold), hold
        hold.commit(amount=amount)


def test_a_runaway_is_stopped(start_server: ServerFactory, database_url: str) -> None:
    """A run and an agent beyond the limit are frozen by one of two servers, and told of once; others go on."""
    servers = [start_server(database_url=database_url, **QUICK) for _ in range(2)]
    with Client(servers[0].address) as client, Client(servers[1].address) as other:
        spend(client, "0.495", 2, run="slow")
        spend(client, "0.3", 4, run="wild", agent="")
        until(lambda: told(database_url) == ["wild"])
        denied = other.reserve("acme", amount="0.01", run="wild")
        assert isinstance(denied, Denied)
        assert denied.denial.reason == DENIAL_REASON_BUDGET_FROZEN
        spend(other, "0.3", 2, run="slow 2", agent="writer")
        spend(client, "0.3", 2, run="slow 3", agent="writer")
        # Both servers have looked again since.
        until(lambda: told(database_url) == ["wild", "writer"])
        spend(other, "0.01", run="slow")
    assert rows(database_url, BUDGETS) == [
        ("AGENT", "writer", "MONTH", Decimal("1.2"), "ENFORCE", True, 1, rows(database_url, BUDGETS)[0][-1]),
        ("RUN", "wild", "TOTAL", Decimal("1.2"), "ENFORCE", True, 1, rows(database_url, BUDGETS)[1][-1]),
    ]
    reason = "breaker: 1.20 USD within a minute, more than the limit of 1.00 USD a minute"
    assert [row[-1] for row in rows(database_url, BUDGETS)] == [reason, reason]
    assert rows(database_url, EVENTS) == [
        ("BUDGET_FROZEN", "breaker", "OPERATOR", "budget of run 'wild', total", reason),
        ("BUDGET_FROZEN", "breaker", "OPERATOR", "budget of agent 'writer', month", reason),
    ]
    message = rows(database_url, TOLD)[0][-1]
    assert message == (
        "The run 'wild' is frozen: 1.20 USD within a minute, more than the limit of 1.00 USD a minute. Of its total"
        " budget (total), 1.20 of 1.20 USD is used. To let it go on: gatekeeper cap AMOUNT --organization acme"
        " --run wild --window total --thaw"
    )


def test_whoever_lets_it_go_on_decides(start_server: ServerFactory, database_url: str) -> None:
    """What was spent before a run was let go on does not stop it again; as much once more does, and is told again."""
    server = start_server(database_url=database_url, **QUICK)
    wild: dict[str, Any] = {"scope": ("RUN", "wild"), "window": "TOTAL"}
    with Client(server.address) as client:
        spend(client, "0.6", 2, run="wild")
        until(lambda: told(database_url) == ["wild"])
        client.set_cap("acme", **wild, cap="9", frozen=False)
        spend(client, "0.6", run="wild")
        # The breaker has looked since.
        spend(client, "1.1", run="another")
        until(lambda: told(database_url) == ["wild", "another"])
        spend(client, "0.6", run="wild")
        until(lambda: told(database_url) == ["wild", "another", "wild"])
        assert isinstance(client.reserve("acme", amount="0.01", run="wild"), Denied)
    assert [row[2] for row in rows(database_url, TOLD)] == ["revision 1", "revision 1", "revision 3"]


def test_the_narrowest_budget_is_frozen(start_server: ServerFactory, database_url: str) -> None:
    """Of several budgets the one of the shortest window is frozen, and keeps its cap; what is frozen is left alone."""
    server = start_server(database_url=database_url, **QUICK)
    with Client(server.address) as client:
        for window in ("TOTAL", "MONTH", "DAY"):
            client.set_cap("acme", scope=("AGENT", "a"), cap="50", window=window)
        client.set_cap("acme", scope=("AGENT", "b"), cap="50", window="TOTAL")
        held = client.reserve("acme", amount="2", agent="b")
        assert isinstance(held, Hold)
        client.set_cap("acme", scope=("AGENT", "b"), window="TOTAL", frozen=True, reason="by hand")
        held.commit(amount="2")
        spend(client, "1.1", agent="a")
        until(lambda: told(database_url) == ["a"])
        spend(client, "1.1", agent="c")
        until(lambda: told(database_url) == ["a", "c"])
    frozen = [row[1:4] for row in rows(database_url, BUDGETS) if row[5]]
    assert frozen == [("a", "DAY", 50), ("b", "TOTAL", 50), ("c", "MONTH", Decimal("1.1"))]
    assert "gatekeeper cap --organization acme --agent a --window day --thaw" in rows(database_url, TOLD)[0][-1]


@pytest.fixture
def books(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """Make a database whose billing log may say anything."""
    with copied(postgres, template) as name:
        url = url_of(postgres, name)
        rows_of_nothing(url, OPEN)
        yield url


def rows_of_nothing(url: str, statement: str, **parameters: object) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode(), parameters)


def spent(url: str, cost: str, ago_s: float, run: str = "", agent: str = "") -> None:
    rows_of_nothing(url, SPENT, cost=Decimal(cost), ago_s=ago_s, run=run, agent=agent)


@asynccontextmanager
async def breaker(url: str, **limits: Decimal) -> AsyncIterator[Breaker]:
    async with pooled(url, size=4) as pool:
        budgets = Budgets(
            reads=pool,
            writes=pool,
            monthly_budget=Decimal(1000),
            auto_provision=True,
            audit_key=AuditKey(),
            changes=Changes(),
        )
        yield Breaker(pool, budgets, BreakerLimits(**limits))


def look(url: str, **limits: Decimal) -> int:
    async def with_a_breaker() -> int:
        async with breaker(url, **limits) as looking:
            return await looking.look()

    return asyncio.run(with_a_breaker())


def test_times_normal(books: str) -> None:
    """Who spends more than so many times its mean minute is stopped; five minutes that cost anything make a mean."""
    for minute in range(2, 14):
        spent(books, "0.5", 60 * minute, run="wild", agent="usual")
        spent(books, "0.5", 60 * minute, run="free")
        # Corrected at once: it cost nothing.
        spent(books, "-0.5", 60 * minute, run="free")
    for minute in range(2, 6):
        spent(books, "0.5", 60 * minute, run="young")
    spent(books, "100", 62 * 60, run="wild")
    for run in ("wild", "young", "free", "new"):
        spent(books, "5.01", 1, run=run)
    spent(books, "5", 1, agent="usual")
    assert look(books, times_normal=Decimal(10)) == 1
    assert told(books) == ["wild"]
    assert "5.01 USD within a minute, more than 10 times its normal of 0.50 USD a minute" in rows(books, TOLD)[0][-1]
    assert look(books, times_normal=Decimal(10)) == 0


def test_normal_is_read_again(books: str) -> None:
    """One breaker that looks again and again knows who was not there when it looked first."""

    async def look_again() -> list[int]:
        async with breaker(books, times_normal=Decimal(10)) as looking:
            spent(books, "5.01", 1, run="new")
            found = [await looking.look()]
            for minute in range(2, 14):
                rows_of_nothing(books, SPENT.replace("'acme'", "'other'"), cost=1, ago_s=60 * minute, run="w", agent="")
            rows_of_nothing(books, SPENT.replace("'acme'", "'other'"), cost=11, ago_s=1, run="w", agent="")
            return [*found, await looking.look(), await looking.look()]

    rows_of_nothing(books, OPEN.replace("acme", "other"))
    assert asyncio.run(look_again()) == [0, 1, 0]


def test_told_once(books: str) -> None:
    """The one alert is written with the freeze; that what is used up crosses every threshold is not told beside it."""
    spent(books, "2", 1, run="wild")
    assert [look(books, per_minute_max=Decimal(1)) for _ in range(2)] == [1, 0]
    assert told(books) == ["wild"]
    with psycopg.connect(books) as connection:
        assert connection.execute("SELECT array_agg(kind) FROM alerts WHERE scope_kind = 'RUN'").fetchone() == (
            ["RUNAWAY"],
        )


def test_one_at_a_time(books: str) -> None:
    """While another process looks, nobody waits for it and nothing is frozen."""
    spent(books, "2", 1, run="wild")
    with psycopg.connect(books) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [OURS, Turn.BREAKER.value])
        assert look(books, per_minute_max=Decimal(1)) == 0
    assert look(books, per_minute_max=Decimal(1)) == 1


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Iterate over a plan's nodes."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes_of(inner)


@pytest.mark.parametrize("name", ["LAST_MINUTE", "HOUR_BEFORE"])
@pytest.mark.parametrize("analyzed", [False, True])
def test_plans(books: str, name: str, analyzed: bool) -> None:
    """What was spent lately is read by the index of the newest executions, however old most of them are."""
    statement = SPENT.replace("%(ago_s)s", "n").replace("AS at)", "AS at FROM generate_series(90, 9000) n)")
    with psycopg.connect(books) as connection:
        psycopg.ClientCursor(connection).execute(statement.encode(), {"cost": 1, "run": "r", "agent": "a"})
        if analyzed:
            connection.execute("ANALYZE executions, organizations")
        connection.execute(storage.BY_INDEX.encode())
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {getattr(storage, name)}"
        for parameter, value in (
            ("organization", "'acme'"),
            ("since", f"(now() - interval '{90 if name == 'LAST_MINUTE' else 600} s')"),
            ("until", "(now() - interval '60 s')"),
            ("least", "0"),
        ):
            explain = explain.replace(f"%({parameter})s", value)
        found = connection.execute(explain.encode()).fetchone()
    assert found is not None
    plan = found[0][0]["Plan"]
    shown = json.dumps(plan, indent=1)
    nodes = [*nodes_of(plan)]
    assert {node["Index Name"] for node in nodes if "Index Name" in node} == {"executions_newest_idx"}, shown
    scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert "executions" not in scanned, shown
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 600, shown
