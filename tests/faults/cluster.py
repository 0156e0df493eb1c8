"""What is it that these tests kill? Servers on one database, each on a socket file that stays when it is killed."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatekeeper_client import AsyncClient
from tests.conftest import STOP_TIMEOUT_S, Server, address_of, served_url, server_environment
from tests.serving import start_serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Servers, by their place; whoever is killed comes back to its own."""

    database_url: str
    folder: Path
    settings: Mapping[str, str]
    servers: dict[int, Server]

    def target(self, place: int) -> str:
        """Return where a server listens, before and after it is killed."""
        return f"unix:{self.folder}/{place}"

    def start(self, place: int) -> None:
        """Start a server in its place; return when it serves."""
        log = self.folder / f"{place}.log"
        process = start_serving(
            *("--listen", self.target(place), "--database-url", served_url(self.database_url)),
            log=log,
            environment=server_environment(self.logs(place), **self.settings),
        )
        self.servers[place] = server = Server(process=process, address="")
        server.address = address_of(process, log)

    def kill(self, *places: int) -> None:
        """End servers as a crash would."""
        for place in places:
            self.servers[place].process.kill()
        for place in places:
            self._reap(self.servers.pop(place))

    def restart(self, *places: int) -> None:
        """Kill servers and start them again."""
        self.kill(*places)
        self.start_all(places)

    def start_all(self, places: Sequence[int]) -> None:
        """Start servers at once: one after another takes longer."""
        with ThreadPoolExecutor(len(places)) as pool:
            list(pool.map(self.start, places))

    def stop(self) -> None:
        """End all servers as an operator would."""
        for server in self.servers.values():
            server.process.terminate()
        for server in self.servers.values():
            try:
                server.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                server.process.kill()
            self._reap(server)

    def logs(self, place: int) -> Path:
        """Return the folder for the logs that people read."""
        return self.folder / f"logs-{place}"

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[Sequence[AsyncClient]]:
        """Yield a client of each place."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(AsyncClient(self.target(place))) for place in sorted(self.servers)]

    @staticmethod
    def _reap(server: Server) -> None:
        server.process.wait()
        server.process.stdout.close()


@contextmanager
def cluster_of(count: int, database_url: str, **settings: str) -> Iterator[Cluster]:
    """Run so many servers on one database."""
    # Not tmp_path: the path of a socket may not be long.
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        cluster = Cluster(database_url=database_url, folder=Path(folder), settings=settings, servers={})
        try:
            cluster.start_all(range(count))
            yield cluster
        finally:
            cluster.stop()
