"""Does verification pass on sound books, and does it find each way in which they can be wrong?"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from gatekeeper import app
from gatekeeper.domain.budget import BalanceKey, Scope, ScopeKind
from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.domain.periods import Window
from gatekeeper.domain.reservation import ExpiryPolicy
from gatekeeper.domain.verification import Difference
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services.organizations import Terms, open_or_change
from gatekeeper.services.verification import Verification, verify_books
from gatekeeper.settings import Settings, load_settings
from gatekeeper.storage.connections import open_pool
from gatekeeper.storage.schema import SchemaError
from gatekeeper_client import AsyncClient, AsyncHold, Denied
from tests.conftest import url_of

MOMENT = timedelta(milliseconds=20)
CALLS = 40


def verification_of(url: str, organization: str | None = None) -> Verification:
    """Verify a database."""
    return asyncio.run(verify_books(url, organization=organization))


async def make_calls(settings: Settings) -> None:
    """Serve as long as it takes to make books that have something of everything."""
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(app.serve(settings, stop, lambda running: started.set_result(running.addresses[0])))
    first: tuple[asyncio.Future[Any], ...] = (started, serving)
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    try:
        async with AsyncClient(started.result()) as client:
            await make_busy(client)
    finally:
        stop.set()
        await serving


async def make_busy(client: AsyncClient) -> None:
    """Use every kind of budget and every way in which a hold can end, in two organizations."""
    for organization in ("acme", "charging"):
        await client.set_cap(organization, cap="5", window="TOTAL")
        await client.set_cap(organization, scope=("CAMPAIGN", "spring"), cap="0.30", window="DAY")
        await client.set_cap(organization, scope=("AGENT", "writer"), cap="0.10", enforcement="WARN")
        await client.set_cap(organization, scope=("RUN", "run 1"), cap="1", window="TOTAL", enforcement="SHADOW")
        results = await asyncio.gather(*(call(client, organization, number) for number in range(CALLS)))
        assert any(isinstance(result, Denied) for result in results)
        await client.set_cap(organization, scope=("DEPARTMENT", "marketing"), cap="0.000000001")
        await client.set_cap(organization, scope=("CAMPAIGN", "spring"), cap="0.01", window="DAY")
    await until_swept(client)
    vanished = [await client.reserve("charging", amount="0.5", ttl=MOMENT) for _ in range(3)]
    await until_swept(client)
    assert isinstance(vanished[0], AsyncHold)
    await vanished[0].commit(amount="0.123456789")


async def call(client: AsyncClient, organization: str, number: int) -> AsyncHold | Denied:
    """Reserve, and end it one way or another."""
    hold = await client.reserve(
        organization,
        amount="0.04",
        campaign="spring" if number % 2 else "autumn",
        department="marketing",
        agent="writer",
        run=f"run {number % 3}",
        ttl=MOMENT if number % 8 == 0 else timedelta(hours=1),
    )
    if isinstance(hold, AsyncHold):
        match number % 4:
            case 1:
                await hold.commit(amount="0.07", outcome="FAILED")
            case 2:
                await hold.commit(amount="0.012345678")
            case 3 if number % 8 == 3:
                await hold.release()
    return hold


async def until_swept(client: AsyncClient) -> None:
    """Wait until no hold of the shortest kind is open."""
    while await count_short(client, "acme") + await count_short(client, "charging"):
        await asyncio.sleep(0.02)


async def count_short(client: AsyncClient, organization: str) -> int:
    """Return how many open holds of the shortest kind an organization has."""
    spans = [
        reservation.expire_time.ToMilliseconds() - reservation.create_time.ToMilliseconds()
        async for reservation in client.list_reservations(organization, state="HELD")
    ]
    return sum(span < 1000 for span in spans)


async def make_books(url: str) -> None:
    """Fill a database by way of a server."""
    async with open_pool(url, name="test", size_max=1, hot=False) as pool:
        terms = Terms(expiry_policy=ExpiryPolicy.CHARGE, time_zone="Pacific/Kiritimati")
        await open_or_change(pool, "charging", terms, default_budget=Decimal(1000))
    settings = load_settings(database_url=url, listen=("127.0.0.1:0",), sweep_interval_s=0.05)
    await make_calls(settings)


@dataclass(frozen=True, kw_only=True)
class Books:
    """A database to copy from."""

    server: EmbeddedPostgres
    name: str

    @contextmanager
    def copy(self) -> Iterator[str]:
        """Yield the URL of a copy."""
        with copied(self.server, self.name) as name:
            yield url_of(self.server, name)


@contextmanager
def copied(server: EmbeddedPostgres, source: str) -> Iterator[str]:
    """Yield the name of a copy of a database."""
    name = f"v_{uuid.uuid4().hex}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
        try:
            yield name
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def books(postgres: EmbeddedPostgres, template: str) -> Iterator[Books]:
    """Make busy books once; nobody writes to them afterwards."""
    with copied(postgres, template) as name:
        asyncio.run(make_books(url_of(postgres, name)))
        yield Books(server=postgres, name=name)


def test_busy_books_pass(books: Books) -> None:
    """Books that a server wrote under load have no difference, and everything in them was looked at."""
    with books.copy() as url:
        found = verification_of(url)
    assert found.differences == []
    assert found.complete
    assert (found.organizations, found.overdue) == (2, 0)
    assert min(found.balances, found.reservations, found.executions, found.denials) > 5


def test_one_organization(books: Books) -> None:
    """With an organization named, only its books are looked at."""
    with books.copy() as url:
        tamper(url, "UPDATE balances SET spent = spent + 1 WHERE organization = 'charging' AND budget_window = 'MONTH'")
        assert verification_of(url, "acme").differences == []
        assert verification_of(url, "charging").differences
        assert verification_of(url, "acme").reservations < verification_of(url).reservations
        with pytest.raises(OrganizationNotFound):
            verification_of(url, "nobody")


def test_progress(books: Books) -> None:
    """Progress names each check, and ends when all are done."""
    steps: list[tuple[str, int, int]] = []
    with books.copy() as url:
        asyncio.run(verify_books(url, progress=lambda *step: steps.append(step)))
    assert [done for _, done, _ in steps] == list(range(len(steps)))
    assert steps[-1][1] == steps[-1][2]


def test_unknown_schema(postgres: EmbeddedPostgres) -> None:
    """A database without our schema is not verified."""
    with copied(postgres, "template0") as name, pytest.raises(SchemaError):
        verification_of(url_of(postgres, name))


def tamper(url: str, *statements: str) -> None:
    """Change a database behind the ledger's back; its CHECKs would refuse most of that."""
    with psycopg.connect(url) as connection:
        constraints = connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint c"
            " WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
        ).fetchall()
        for table, name in constraints:
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


OF_MONTH = "organization = 'acme' AND scope_kind = 'ORGANIZATION' AND budget_window = 'MONTH'"
COMMITTED = "(SELECT reservation_id FROM reservations WHERE organization = 'acme' AND state = 'COMMITTED' LIMIT 1)"
HELD = "(SELECT reservation_id FROM reservations WHERE organization = 'acme' AND state = 'HELD' LIMIT 1)"
CHARGED = "(SELECT reservation_id FROM reservations WHERE charged = 0.5 AND committed IS NULL LIMIT 1)"
REVERSED = "(SELECT reservation_id FROM executions WHERE kind = 'REVERSAL' LIMIT 1)"
INSERT_EXECUTION = (
    "INSERT INTO executions (organization, reservation_id, kind, department, campaign, agent, run, agent_type, task,"
    " model, day, month, committed_at, cost, reserved_amount, outcome)"
    " SELECT organization, {id}, '{kind}', department, campaign, agent, run, agent_type, task, model, day, month,"
    " clock_timestamp(), {cost}, amount, 'SUCCEEDED' FROM reservations WHERE reservation_id = {source}"
)

TAMPERINGS = {
    "reserved is too high": (
        f"UPDATE balances SET reserved = reserved + 0.000000001 WHERE {OF_MONTH}",
        "'acme', organization, month .*: reserved: expected .*, found .*",
    ),
    "spent of a day is too low": (
        "UPDATE balances SET spent = spent - 0.01 WHERE budget_window = 'DAY' AND organization = 'acme'",
        "'acme', campaign 'spring', day .*: spent: expected .*, found .*",
    ),
    "spent of a total is too high": (
        "UPDATE balances SET spent = spent + 1 WHERE budget_window = 'TOTAL' AND scope_kind = 'RUN'",
        "run 'run 1', total total: spent: ",
    ),
    "a warning budget's sum is wrong": (
        "UPDATE balances SET spent = 0 WHERE scope_kind = 'AGENT'",
        "agent 'writer', month .*: spent: .*, found 0.00",
    ),
    "a balance is lost": (
        "DELETE FROM balances WHERE scope_kind = 'DEPARTMENT' AND organization = 'charging'",
        "'charging', department 'marketing', month .*: spent, without a balance: expected .*, found nothing",
    ),
    "excess has no rows": (
        "DELETE FROM excesses WHERE kind = 'CAP_CHANGED'",
        "campaign 'spring', .*: excess: expected .*, found ",
    ),
    "excess has a row too many": (
        "UPDATE balances SET excess = 0 WHERE scope_kind = 'DEPARTMENT'",
        "department .*: excess: .*, found 0.00",
    ),
    "excess of a balance that is lost": (
        "DELETE FROM balances WHERE excess > 0",
        ": excess: expected .*, found nothing",
    ),
    "excess names an unknown reservation": (
        "UPDATE excesses SET reservation_id = 'x' WHERE kind = 'OVERAGE'",
        "excess of a reservation that does not exist",
    ),
    "above the cap": (
        f"UPDATE balances SET cap = 0.01, excess = 0 WHERE {OF_MONTH}",
        "spent and reserved above cap and excess: expected 0.01, found ",
    ),
    "a cap that nobody set": (f"UPDATE balances SET cap = 7777 WHERE {OF_MONTH}", ": cap, .*: expected .*, found 7777"),
    "an enforcement that nobody set": (
        f"UPDATE balances SET enforcement = 'WARN' WHERE {OF_MONTH}",
        ": enforcement, in its budget and in its current",
    ),
    "a balance without a budget": (f"DELETE FROM budgets WHERE {OF_MONTH}", "balance without a budget"),
    "a commit without execution": (
        f"DELETE FROM executions WHERE reservation_id = {COMMITTED}",
        "commit without an execution: .*, found nothing",
    ),
    "a commit of another cost": (
        f"UPDATE executions SET cost = cost + 0.000000001 WHERE reservation_id = {COMMITTED}",
        "reservation '.*': commit, in its reservation and in its execution: expected .*, found .*",
    ),
    "an execution without reservation": (
        f"DELETE FROM reservations WHERE reservation_id = {COMMITTED}",
        "commit without a reservation: expected nothing",
    ),
    "an execution of an open hold": (
        INSERT_EXECUTION.format(id="reservation_id", kind="COMMIT", cost="0", source=HELD),
        "commit that its reservation does not know: expected nothing, found 0.00",
    ),
    "another attribution": (
        f"UPDATE executions SET campaign = 'winter' WHERE reservation_id = {COMMITTED}",
        "with other attribution",
    ),
    "another day": (
        f"UPDATE executions SET day = '1999-01-01' WHERE reservation_id = {COMMITTED}",
        "with other attrib",
    ),
    "another held amount": (
        f"UPDATE executions SET reserved_amount = 9 WHERE reservation_id = {COMMITTED}",
        "with other attribution",
    ),
    "lateness denied": ("UPDATE executions SET late = false WHERE late AND kind = 'COMMIT'", "with other attribution"),
    "an expiry charge without execution": (
        f"DELETE FROM executions WHERE reservation_id = {CHARGED}",
        "expiry charge without an execution: expected 0.",
    ),
    "an expiry charge of another amount": (
        f"UPDATE executions SET cost = 0.01 WHERE reservation_id = {CHARGED}",
        "expiry_charge, in its reservation and in its execution: expected 0.50, found 0.01",
    ),
    "an expiry charge under another policy": (
        f"UPDATE reservations SET charged = 0 WHERE reservation_id = {CHARGED}",
        "expiry_charge that its reservation",
    ),
    "a reversal without a late commit": (
        INSERT_EXECUTION.format(id="reservation_id", kind="REVERSAL", cost="-amount", source=CHARGED),
        "reversal that its reservation does not know",
    ),
    "a reversal of another amount": (
        "UPDATE executions SET cost = -0.1 WHERE kind = 'REVERSAL'",
        "reversal, in its .*: expected -0.50, found -0.10",
    ),
    "a late commit without reversal": (
        "DELETE FROM executions WHERE kind = 'REVERSAL'",
        "reversal without an execution: expected -0.50, found nothing",
    ),
    "an open hold with an end": (
        f"UPDATE reservations SET ended_at = clock_timestamp() WHERE reservation_id = {HELD}",
        "state HELD and end do not fit",
    ),
    "a commit without a cost": (
        f"UPDATE reservations SET committed = NULL WHERE reservation_id = {COMMITTED}",
        "committed without a cost",
    ),
    "a release with a cost": (
        f"UPDATE reservations SET state = 'RELEASED' WHERE reservation_id = {COMMITTED}",
        "but not as RELEASED",
    ),
    "a charge that is not the hold's": (
        f"UPDATE reservations SET charged = 0.01 WHERE reservation_id = {CHARGED}",
        "charge of EXPIRED: expected 0.50",
    ),
    "an expiry before its time": (
        "UPDATE reservations SET expires_at = ended_at + interval '1 s' WHERE state = 'EXPIRED'",
        "before its time",
    ),
    "a month that is not the day's": (
        f"UPDATE reservations SET month = '1999-01' WHERE reservation_id = {HELD}",
        "day and month do not fit",
    ),
    "a leaked hold": (
        f"UPDATE reservations SET expires_at = clock_timestamp() - interval '61 s' WHERE reservation_id = {HELD}",
        "hold not swept, overdue since 2.*Z: expected 0.00, found 0.04",
    ),
    "an organization that is lost": (
        "DELETE FROM organizations WHERE organization = 'acme'",
        "'acme': rows in executions of an organization that does not exist: expected 0.00, found ",
    ),
    "a price book that is lost": (
        "UPDATE organizations SET price_version = 'gone'",
        "its price book 'gone' does not exist",
    ),
    "a time zone that nobody knows": (
        "UPDATE organizations SET time_zone = 'Mars/Olympus'",
        "its time zone 'Mars/Olympus' does not exist",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(books: Books, name: str) -> None:
    """Whatever is changed behind the ledger's back is told as one line that names the place."""
    statement, expected = TAMPERINGS[name]
    with books.copy() as url:
        tamper(url, statement)
        lines = [str(difference) for difference in verification_of(url).differences]
    assert any(re.search(expected, line) for line in lines), lines


def test_listing_ends(books: Books) -> None:
    """What is wrong in very many places is listed up to a limit, and said to be cut."""
    with books.copy() as url:
        tamper(
            url,
            "INSERT INTO denials (organization, reservation_id, reason, requested, shortfall, denied_at)"
            " SELECT 'lost ' || n, 'r', 'OUT_OF_BUDGET', 1, 1, clock_timestamp() FROM generate_series(1, 1001) AS n",
        )
        found = verification_of(url)
    assert len(found.differences) == 1000
    assert not found.complete


def test_one_line() -> None:
    """A difference reads as one line, whatever is in its names."""
    key = BalanceKey(Scope(ScopeKind.CAMPAIGN, "two\nlines"), Window.DAY, "2026-11-20")
    difference = Difference(what="spent", organization="a\nb", key=key, expected=Decimal(1), found=None)
    assert str(difference) == (r"'a\nb', campaign 'two\nlines', day 2026-11-20: spent: expected 1.00, found nothing")
