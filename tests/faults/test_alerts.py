"""How often is somebody told that a budget crossed a line? Once, however many servers there are and die.

Callers of several servers use up an organization's and a campaign's budget while servers are killed and started again.
Then all callers' servers are told to raise the caps, and the budgets are used up again. A receiver of webhooks fails,
hangs, hangs up, and takes what it confirms too late.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from pathlib import Path
from random import Random

import pytest

from gatekeeper_client import AsyncClient
from gatekeeper_client.fields import ScopeKindName

from .audit import rows
from .callers import PATIENCE_S, TRY_TIMEOUT_S
from .cluster import Cluster, cluster_of
from .killing import Killer
from .receiver import Receiver, Whim, compact, receiver_of
from .spending import Purse, Spending

ORGANIZATION, CAMPAIGN = "acme", "launch"
BUDGETS: tuple[tuple[ScopeKindName, str], ...] = (("ORGANIZATION", ""), ("CAMPAIGN", CAMPAIGN))
PURSES = (Purse(organization=ORGANIZATION, campaign=CAMPAIGN), Purse(organization=ORGANIZATION))
TIERS, BASES = (80, 95, 100), ("SPENT", "USED")
CROSSINGS = sorted((*budget, basis, tier) for budget, basis, tier in product(BUDGETS, BASES, TIERS))
ALERTS = """
    SELECT scope_kind, scope_id, basis, threshold FROM alerts
    WHERE organization = %s AND kind = %s ORDER BY 1, 2, 3, 4
"""
ROUNDS = "SELECT scope_kind, alert_round FROM balances WHERE organization = %s"
ALERT_IDS = "SELECT alert_id::text FROM alerts"
UNDER_WAY = """
    SELECT (SELECT count(*) FROM alerts WHERE dispatched_at IS NULL)
         + (SELECT count(*) FROM alert_deliveries WHERE state = 'PENDING')
"""
DELIVERIES = "SELECT channel, state, count(*) FROM alert_deliveries GROUP BY channel, state"
SETTINGS = {
    "GATEKEEPER_POOL_MAX": "3",
    "GATEKEEPER_REPORT_POOL_MAX": "2",
    "GATEKEEPER_CALLS_PER_S_MAX": "1000000",
    "GATEKEEPER_ALERT_INTERVAL_S": "0.1",
    "GATEKEEPER_ALERT_TIMEOUT_S": "0.5",
    "GATEKEEPER_ALERT_RETRY_S": "0.05",
    "GATEKEEPER_ALERT_ATTEMPTS_MAX": "100",
    "GATEKEEPER_VERIFY_INTERVAL_S": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How many servers, callers of each, cents of the organization's cap, and answers between two kills."""

    servers: int
    callers: int
    cap: Decimal
    calm: int


QUICK = Scale(servers=2, callers=20, cap=Decimal(20), calm=150)
FULL = Scale(servers=8, callers=200, cap=Decimal(400), calm=600)


class Crossing:
    """Budgets that are used up through servers of which some are killed, again and again."""

    def __init__(self, scale: Scale, cluster: Cluster, clients: Sequence[AsyncClient], seed: int) -> None:
        """Kill at moments that follow from `seed`."""
        self.spending = Spending(clients, seed)
        self._scale = scale
        self._killer = Killer(cluster=cluster, callers=self.spending.callers, chance=Random(seed), calm=scale.calm)

    async def cap(self, times: int) -> None:
        """Set both caps through all servers at once, killed or not: the first sets them, the others change nothing."""
        places = range(self._scale.servers)
        async with asyncio.TaskGroup() as group:
            for place, scope in product(places, BUDGETS):
                group.create_task(self._cap(place, scope, times))

    async def spend(self) -> None:
        """Use both budgets up."""
        await self._killer.during(self.spending.until_spent(self._scale.callers, *PURSES))

    async def raise_caps(self, times: int) -> None:
        """Set other caps while servers die."""
        await asyncio.gather(self.cap(times), self._killer.strike())

    async def _cap(self, place: int, scope: tuple[ScopeKindName, str], times: int) -> None:
        cap = times * (self._scale.cap if scope == BUDGETS[0] else self._scale.cap / 4)
        await self.spending.callers.until_answered(
            Random(place),
            lambda client: client.set_cap(ORGANIZATION, scope=scope, cap=cap, timeout_s=TRY_TIMEOUT_S),
            place,
        )


@pytest.mark.parametrize(
    "scale", [QUICK, pytest.param(FULL, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["quick", "full"]
)
def test_each_crossing_is_told_once(durable_url: str, tmp_path: Path, seed: int, scale: Scale) -> None:
    """Whoever is killed, each tier of each budget is alerted once, resolved once by a raised cap, and alerted again."""
    with receiver_of(Random(seed)) as receiver:
        secret = tmp_path / "secret"
        secret.touch(0o600)
        secret.write_text(receiver.secret)
        told = {
            "GATEKEEPER_ALERT_WEBHOOK_URL": receiver.url,
            "GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE": str(secret),
        }
        with cluster_of(scale.servers, durable_url, **SETTINGS | told) as cluster:
            asyncio.run(_cross_twice(scale, cluster, seed))
            asyncio.run(_until_delivered(durable_url))
        _compare_deliveries(cluster.database_url, receiver)


async def _cross_twice(scale: Scale, cluster: Cluster, seed: int) -> None:
    url = cluster.database_url
    async with cluster.clients() as clients:
        crossing = Crossing(scale, cluster, clients, seed)
        await crossing.cap(1)
        await crossing.spend()
        assert _alerts(url, "THRESHOLD") == CROSSINGS
        assert _alerts(url, "RESOLVED") == []
        rounds = _rounds(url)
        await crossing.raise_caps(3)
        assert _alerts(url, "RESOLVED") == CROSSINGS
        assert _rounds(url) == {kind: number + 1 for kind, number in rounds.items()}
        await crossing.spend()
        assert _alerts(url, "THRESHOLD") == sorted(2 * CROSSINGS)
        assert _alerts(url, "RESOLVED") == CROSSINGS
        assert crossing.spending.callers.retries, "no kill was felt"
        listed = await crossing.spending.callers.until_answered(Random(seed), _listed)
        assert len(listed) == len({*listed}) == 2 * len(CROSSINGS)


async def _listed(client: AsyncClient) -> list[str]:
    return [alert.alert_id async for alert in client.list_alerts(ORGANIZATION, kind="THRESHOLD", page_size=5)]


async def _until_delivered(url: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await asyncio.to_thread(rows, url, UNDER_WAY)) != [(0,)]:
            await asyncio.sleep(0.1)


def _compare_deliveries(url: str, receiver: Receiver) -> None:
    """Each alert came at least once, under its own id and with the same words; nothing else came."""
    assert receiver.forged == []
    alert_ids = {alert_id for (alert_id,) in rows(url, ALERT_IDS)}
    assert receiver.taken.keys() == alert_ids
    assert all(len(set(map(compact, bodies))) == 1 for bodies in receiver.taken.values())
    assert receiver.whims().keys() == set(Whim), "it behaved too well"
    assert any(len(bodies) > 1 for bodies in receiver.taken.values()), "nothing came twice"
    states = Counter({(channel, state): count for channel, state, count in rows(url, DELIVERIES)})
    assert states == {("log", "DELIVERED"): len(alert_ids), ("webhook", "DELIVERED"): len(alert_ids)}


def _alerts(url: str, kind: str) -> list[tuple[object, ...]]:
    return rows(url, ALERTS, ORGANIZATION, kind)


def _rounds(url: str) -> dict[str, int]:
    return {kind: number for kind, number in rows(url, ROUNDS, ORGANIZATION)}  # noqa: C416 - pairs, for the types
