"""What is left of an answer when whatever gave it is killed? All of it.

Servers, PostgreSQL, or both are killed at random moments under load. Callers repeat with the same ids until they have
an answer; then the ledger is compared with all answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random

import pytest

from gatekeeper.embedded import EmbeddedPostgres

from . import audit
from .cluster import Cluster, cluster_of
from .load import Load
from .postgres import WAYS_TO_DIE, kill

WORKERS = 32
SERVERS = 2
WHAT = ("server", "postgres", "both")
ANSWERS_BETWEEN_KILLS = 100
MOMENT_MAX_S = 0.4
# After some hundred calls the tight cap is used up.
CAP_MET_S = 30
LIMITS = {"GATEKEEPER_SWEEP_INTERVAL_S": "0.2"}


@pytest.fixture
def cluster(durable_url: str) -> Iterator[Cluster]:
    """Start servers on a database that is durable."""
    with cluster_of(SERVERS, durable_url, **LIMITS) as cluster:
        yield cluster


def strike(cluster: Cluster, postgres: EmbeddedPostgres, what: str, way: str, chance: Random) -> None:
    """Kill -9 a server, PostgreSQL or both, and start what was killed again."""
    place = chance.randrange(SERVERS)
    if what in {"server", "both"}:
        cluster.kill(place)
    if what in {"postgres", "both"}:
        kill(postgres, way, chance)
    if what in {"server", "both"}:
        cluster.start(place)


async def survive(cluster: Cluster, postgres: EmbeddedPostgres, kills: Sequence[str], seed: int) -> None:
    """Kill at random moments while callers reserve and settle; then compare the ledger with their answers."""
    chance = Random(seed)
    ways = cycle(chance.sample(WAYS_TO_DIE, len(WAYS_TO_DIE)))
    async with cluster.clients() as clients:
        load = Load(clients, seed)
        await load.prepare()
        working = asyncio.create_task(load.run(WORKERS))
        sampling = asyncio.create_task(audit.sample_caps(cluster.database_url))
        for what in kills:
            await load.callers.progress(ANSWERS_BETWEEN_KILLS)
            await asyncio.sleep(chance.uniform(0, MOMENT_MAX_S))
            await asyncio.to_thread(strike, cluster, postgres, what, next(ways), chance)
        await load.callers.progress(ANSWERS_BETWEEN_KILLS)
        async with asyncio.timeout(CAP_MET_S):
            while not load.acknowledged.denied:
                await load.callers.progress(1)
        load.stop()
        await working
        await audit.until_expired(cluster.database_url)
        sampling.cancel()
        assert set(await sampling) == {0}
        audit.compare(cluster.database_url, load.acknowledged)
        await audit.replay(clients[0], load.acknowledged, chance)
        audit.compare(cluster.database_url, load.acknowledged)
        assert load.callers.retries, "no kill was felt"


def test_three_kills(cluster: Cluster, breakable: EmbeddedPostgres, seed: int) -> None:
    """A killed server, a killed PostgreSQL, and both killed at once lose nothing and charge nothing twice."""
    asyncio.run(survive(cluster, breakable, Random(seed).sample(WHAT, len(WHAT)), seed))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_kills(cluster: Cluster, breakable: EmbeddedPostgres, seed: int) -> None:
    """Ten kills of a server, ten of PostgreSQL and ten of both lose nothing and charge nothing twice."""
    asyncio.run(survive(cluster, breakable, Random(seed).sample(WHAT * 10, len(WHAT) * 10), seed))
