"""Does verification pass on sound books, and does it find each way in which they can be wrong?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from decimal import Decimal

import pytest

from gatekeeper.domain.budget import BalanceKey, Scope, ScopeKind
from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.domain.periods import Window
from gatekeeper.domain.verification import Difference
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.services.verification import Verification, verify_books
from gatekeeper.storage.schema import SchemaError
from gatekeeper_client import AsyncClient
from tests.conftest import Server, url_of
from tests.integration.busy_books import Books, call, copied, make_books
from tests.integration.tamperings import TAMPERINGS, tamper


def verification_of(url: str, organization: str | None = None) -> Verification:
    """Verify a database."""
    return asyncio.run(verify_books(url, organization=organization))


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


def test_books_in_use_pass(server: Server, database_url: str) -> None:
    """While calls are made, every snapshot of the books adds up."""

    async def verify_meanwhile() -> list[Difference]:
        async with AsyncClient(server.address) as client:
            await client.set_cap("acme", scope=("CAMPAIGN", "spring"), cap="1", window="DAY")
            calls = asyncio.gather(*(call(client, "acme", number) for number in range(400)))
            found: list[Difference] = []
            while not calls.done():
                found += (await verify_books(database_url)).differences
            await calls
        return found

    assert asyncio.run(verify_meanwhile()) == []


def test_alerts_of_the_installation(books: Books) -> None:
    """An alert about the installation, and its delivery, belong to no organization, and are no difference."""
    with books.copy() as url:
        tamper(
            url,
            "INSERT INTO alerts (organization, kind, message, occurred_at) VALUES ('', 'TEST', '', clock_timestamp())",
            "INSERT INTO alert_deliveries (organization, alert_id, channel, next_attempt_at)"
            " SELECT organization, alert_id, 'log', clock_timestamp() FROM alerts WHERE organization = ''",
        )
        assert verification_of(url).differences == []


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
            "INSERT INTO denials"
            " (organization, reservation_id, reason, requested, shortfall, denied_at, caller, actor, actor_role, peer)"
            " SELECT 'lost ' || n, 'r', 'OUT_OF_BUDGET', 1, 1, clock_timestamp(), '', '', '', ''"
            " FROM generate_series(1, 1001) AS n",
        )
        found = verification_of(url)
    assert len(found.differences) == 1000
    assert not found.complete


def test_one_line() -> None:
    """A difference reads as one line, whatever is in its names."""
    key = BalanceKey(Scope(ScopeKind.CAMPAIGN, "two\nlines"), Window.DAY, "2026-11-20")
    difference = Difference(what="spent", organization="a\nb", key=key, expected=Decimal(1), found=None)
    assert str(difference) == (r"'a\nb', campaign 'two\nlines', day 2026-11-20: spent: expected 1.00, found nothing")
