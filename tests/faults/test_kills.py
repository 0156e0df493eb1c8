"""What is left of an answer when whatever gave it is killed? All of it.

Servers, PostgreSQL, or both are killed at random moments under load. Callers repeat with the same ids until they have
an answer; then the ledger is compared with all answers.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random

import pytest

from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper_client import AsyncClient
from tests.conftest import Server, ServerFactory

from . import audit
from .load import Load
from .postgres import WAYS_TO_DIE, kill

WORKERS = 32
SERVERS = 2
WHAT = ("server", "postgres", "both")
ANSWERS_BETWEEN_KILLS = 100
MOMENT_MAX_S = 0.4
LIMITS = {"GATEKEEPER_SWEEP_INTERVAL_S": "0.2"}


@dataclass(kw_only=True)
class Cluster:
    """Servers on one database, each on a socket file that stays when it is killed."""

    postgres: EmbeddedPostgres
    database_url: str
    folder: Path
    start_server: ServerFactory
    servers: list[Server]

    def target(self, number: int) -> str:
        """Return where a server listens, before and after it is killed."""
        return f"unix:{self.folder}/{number}"

    def start(self, number: int) -> Server:
        """Start a server in its place."""
        return self.start_server("--listen", self.target(number), database_url=self.database_url, **LIMITS)

    def kill(self, what: str, way: str, chance: Random) -> None:
        """Kill -9 a server, PostgreSQL or both, and start what was killed again."""
        number = chance.randrange(len(self.servers))
        if what in {"server", "both"}:
            self.servers[number].kill()
        if what in {"postgres", "both"}:
            kill(self.postgres, way, chance)
        if what in {"server", "both"}:
            self.servers[number] = self.start(number)


@pytest.fixture
def cluster(breakable: EmbeddedPostgres, durable_url: str, start_server: ServerFactory) -> Iterator[Cluster]:
    """Start servers on a database that is durable."""
    # Not tmp_path: the path of a socket may not be long.
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        cluster = Cluster(
            postgres=breakable,
            database_url=durable_url,
            folder=Path(folder),
            start_server=start_server,
            servers=[],
        )
        cluster.servers += [cluster.start(number) for number in range(SERVERS)]
        yield cluster


async def survive(cluster: Cluster, kills: Sequence[str], seed: int) -> None:
    """Kill at random moments while callers reserve and settle; then compare the ledger with their answers."""
    chance = Random(seed)
    ways = cycle(chance.sample(WAYS_TO_DIE, len(WAYS_TO_DIE)))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(cluster.target(n))) for n in range(SERVERS)]
        load = Load(clients, seed)
        await load.prepare()
        working = asyncio.create_task(load.run(WORKERS))
        sampling = asyncio.create_task(audit.sample_caps(cluster.database_url))
        for what in kills:
            await load.progress(ANSWERS_BETWEEN_KILLS)
            await asyncio.sleep(chance.uniform(0, MOMENT_MAX_S))
            await asyncio.to_thread(cluster.kill, what, next(ways), chance)
        await load.progress(ANSWERS_BETWEEN_KILLS)
        load.stop()
        await working
        await audit.until_expired(cluster.database_url)
        sampling.cancel()
        assert set(await sampling) == {0}
        audit.compare(cluster.database_url, load.acknowledged)
        await audit.replay(clients[0], load.acknowledged, chance)
        audit.compare(cluster.database_url, load.acknowledged)
        assert load.acknowledged.retries, "no kill was felt"
        assert load.acknowledged.denied, "no cap was met"


def test_three_kills(cluster: Cluster, seed: int) -> None:
    """A killed server, a killed PostgreSQL, and both killed at once lose nothing and charge nothing twice."""
    asyncio.run(survive(cluster, Random(seed).sample(WHAT, len(WHAT)), seed))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_kills(cluster: Cluster, seed: int) -> None:
    """Ten kills of a server, ten of PostgreSQL and ten of both lose nothing and charge nothing twice."""
    asyncio.run(survive(cluster, Random(seed).sample(WHAT * 10, len(WHAT) * 10), seed))
