"""What do four servers on one database admit together? Exactly what one would."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain
from random import Random

import psycopg
import pytest

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper_client import AsyncClient, AsyncHold, Denied, from_money
from gatekeeper_client.v1.budget_pb2 import SCOPE_KIND_CAMPAIGN, Scope, ScopeKind
from gatekeeper_client.v1.reservation_pb2 import DenialReason
from tests.conftest import url_of, verify
from tests.integration.four_servers import AMOUNT, SERVERS, Four, burst, start_four

CAP, CAMPAIGN_CAP = Decimal("5.00"), Decimal("2.00")
EXPIRY_PATIENCE_S = 20

KINDS = "SELECT kind, count(*), sum(cost) FROM executions WHERE organization = %s GROUP BY kind"
CHARGE = "UPDATE organizations SET expiry_policy = 'CHARGE' WHERE organization = %s"


@pytest.fixture(scope="module")
def four(postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Four]:
    """Start four servers on a database; at the end stop them, and verify its books."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    url = url_of(postgres, name)
    servers = start_four(url, tmp_path_factory.mktemp("four"))
    yield Four(addresses=[server.address for server in servers], database_url=url)
    assert [server.stop() for server in servers] == [0] * SERVERS
    for server in servers:
        server.process.stdout.close()
    differences = verify(url)
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert not differences


@pytest.fixture
def organization() -> str:
    """Return a name that no other test uses."""
    return f"o-{uuid.uuid4().hex}"


@pytest.fixture
def seed() -> int:
    """Return what a test's choices follow from: itself from `--randomly-seed`, and shown when the test fails."""
    return random.getrandbits(32)


def explained(verdicts: Sequence[AsyncHold | Denied], reason: str) -> Counter[int]:
    """Count the denials by the kind of budget that they name, each with a reason, a shortfall and a sentence."""
    denials = [verdict.denial for verdict in verdicts if isinstance(verdict, Denied)]
    for denial in denials:
        assert denial.reason == DenialReason.Value(f"DENIAL_REASON_{reason}")
        assert from_money(denial.requested) >= from_money(denial.shortfall) > 0
        assert denial.message
    return Counter(denial.budget.scope.kind for denial in denials)


def test_exactly_what_the_cap_allows(four: Four, organization: str) -> None:
    """Of 1,000 reserves of 0.10 on a cap of 5.00 through four servers 50 pass, the rest are denied with a reason."""

    async def reserve() -> list[AsyncHold | Denied]:
        async with four.clients() as clients:
            await clients[0].set_cap(organization, cap=CAP)
            return await burst(clients, organization, 1000)

    verdicts = asyncio.run(reserve())
    assert sum(verdict.admitted for verdict in verdicts) == 50
    assert explained(verdicts, "HEADROOM_HELD") == {ScopeKind.SCOPE_KIND_ORGANIZATION: 950}
    assert four.standing(organization) == (CAP, 0, CAP)


def test_exactly_what_both_caps_allow(four: Four, organization: str) -> None:
    """With a campaign's cap of 2.00 below the organization's 5.00, 20 of its reserves pass, and 50 altogether."""

    async def reserve() -> tuple[list[AsyncHold | Denied], list[AsyncHold | Denied]]:
        async with four.clients() as clients:
            await clients[0].set_cap(organization, cap=CAP)
            await clients[1].set_cap(organization, scope=("CAMPAIGN", "spring"), cap=CAMPAIGN_CAP)
            alone = await burst(clients, organization, 500, "spring")
            together = await asyncio.gather(
                burst(clients, organization, 250, "spring"), burst(clients, organization, 250)
            )
            return alone, list(chain(*together))

    alone, together = asyncio.run(reserve())
    assert [sum(verdict.admitted for verdict in verdicts) for verdicts in (alone, together)] == [20, 30]
    assert explained(alone, "HEADROOM_HELD") == {ScopeKind.SCOPE_KIND_CAMPAIGN: 480}
    assert explained(together, "HEADROOM_HELD").total() == 470
    assert four.standing(organization, "CAMPAIGN") == (CAMPAIGN_CAP, 0, CAMPAIGN_CAP)
    assert four.standing(organization) == (CAP, 0, CAP)


def test_never_above_the_cap(four: Four, organization: str, seed: int) -> None:
    """While holds are committed and released, no instant shows more than the cap; what is left then is admitted."""
    chance = Random(seed)

    async def settle(client: AsyncClient) -> Decimal:
        hold = await client.reserve(organization, amount=AMOUNT)
        if isinstance(hold, Denied):
            assert hold.denial.message
            return Decimal(0)
        if chance.random() < 0.5:
            await hold.release()
            return Decimal(0)
        cost = Decimal(chance.randint(0, 1000)).scaleb(-4)
        await hold.commit(amount=cost)
        return cost

    async def run() -> tuple[Decimal, list[AsyncHold | Denied]]:
        async with four.clients() as clients:
            await clients[0].set_cap(organization, cap=CAP)
            watching = asyncio.create_task(_highest(four, organization))
            costs = await asyncio.gather(*(settle(clients[number % SERVERS]) for number in range(1000)))
            assert four.standing(organization) == (0, sum(costs), CAP)
            verdicts = await burst(clients, organization, 200)
            watching.cancel()
            assert await watching <= CAP
            return sum(costs, Decimal(0)), verdicts

    spent, verdicts = asyncio.run(run())
    admitted = (CAP - spent) // AMOUNT
    assert sum(verdict.admitted for verdict in verdicts) == admitted
    assert four.standing(organization) == (admitted * AMOUNT, spent, CAP)


async def _highest(four: Four, organization: str) -> Decimal:
    """Return the most that was seen spent and reserved together, once cancelled."""
    highest = Decimal(0)
    query = "SELECT coalesce(max(reserved + spent), 0) FROM balances WHERE organization = %s"
    async with await psycopg.AsyncConnection.connect(four.database_url, autocommit=True) as connection:
        try:
            while True:
                cursor = await connection.execute(query, [organization])
                highest = max(highest, *(await cursor.fetchone() or ()))
        except asyncio.CancelledError:
            return highest


def test_the_same_id_everywhere(four: Four, organization: str) -> None:
    """A reservation that is asked for at all servers at once is held once, and committed once."""
    name = str(uuid.uuid4())

    async def run() -> tuple[list[str], list[Decimal]]:
        async with four.clients() as clients:

            async def reserve(client: AsyncClient) -> str:
                hold = await client.reserve(organization, reservation_id=name, amount=AMOUNT)
                assert isinstance(hold, AsyncHold)
                return hold.reservation_id

            async def commit(client: AsyncClient) -> Decimal:
                return from_money((await client.commit(organization, name, amount="0.07")).execution.cost)

            held = await asyncio.gather(*(reserve(clients[number % SERVERS]) for number in range(100)))
            costs = await asyncio.gather(*(commit(clients[number % SERVERS]) for number in range(100)))
            return held, costs

    held, costs = asyncio.run(run())
    assert ({*held}, {*costs}) == ({name}, {Decimal("0.07")})
    assert four.standing(organization)[:2] == (0, Decimal("0.07"))
    assert four.read(KINDS, organization) == [("COMMIT", 1, Decimal("0.07"))]


def test_each_hold_expires_once(four: Four, organization: str) -> None:
    """Sweeps of four servers charge each overdue hold once under the policy CHARGE; a commit that races them counts."""

    async def commit_at_its_end(hold: AsyncHold) -> bool:
        await asyncio.sleep(1)
        return (await hold.commit(amount="0.03")).late

    async def run() -> int:
        async with four.clients() as clients:
            await clients[0].set_cap(organization, cap=100)
            with psycopg.connect(four.database_url, autocommit=True) as connection:
                connection.execute(CHARGE, [organization])
            holds = await asyncio.gather(
                *(clients[number % SERVERS].reserve(organization, amount=AMOUNT, ttl=1) for number in range(300))
            )
            assert all(hold.admitted for hold in holds)
            racing = [hold for hold in holds[200:] if isinstance(hold, AsyncHold)]
            late = await asyncio.gather(*map(commit_at_its_end, racing))
            async with asyncio.timeout(EXPIRY_PATIENCE_S):
                while "HELD" in four.states(organization):
                    await asyncio.sleep(0.1)
            return sum(late)

    late = asyncio.run(run())
    kinds = {kind: (count, cost) for kind, count, cost in four.read(KINDS, organization)}
    assert kinds["COMMIT"] == (100, 3)
    assert kinds["EXPIRY_CHARGE"] == (200 + late, (200 + late) * AMOUNT)
    assert kinds.get("REVERSAL", (0, 0)) == (late, -late * AMOUNT)
    assert four.standing(organization)[:2] == (0, 200 * AMOUNT + 3)
    assert four.states(organization) == Counter(EXPIRED=200 + late, COMMITTED=100 - late) - Counter()


def test_first_caps_at_once_open_an_organization_once(four: Four, organization: str) -> None:
    """Whoever comes second finds what the first one has set: no cap is undone, and the trail tells of one opening."""

    async def cap_all() -> None:
        async with four.clients() as clients:
            for number in range(20):
                name = f"{organization}-{number}"
                own, campaign = (Scope(), Scope(kind=SCOPE_KIND_CAMPAIGN, id="c"))
                await asyncio.gather(
                    *(
                        client.set_cap(name, scope=scope, cap=Decimal(7), frozen=scope is own)
                        for client, scope in zip(clients, (own, campaign, campaign, campaign), strict=True)
                    )
                )

    asyncio.run(cap_all())
    for number in range(20):
        name = f"{organization}-{number}"
        found = four.read("SELECT cap, frozen FROM budgets WHERE organization = %s AND scope_id = ''", name)
        assert found == [(Decimal(7), True)]
        opened = "SELECT 1 FROM audit_events WHERE organization = %s AND action = 'ORGANIZATION_OPENED'"
        assert len(four.read(opened, name)) == 1
