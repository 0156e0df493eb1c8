"""How does a server start, refuse to start, and stop?"""

from __future__ import annotations

import asyncio
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2

from gatekeeper.addresses import ListenError
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.rpc.listen import listen
from tests.conftest import ServerFactory, served_url, server_environment, url_of

from .wire import TIMEOUT_S, Wire, beside, decimals, until

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def fail_to_serve(*arguments: str, **environment: str) -> tuple[int, str]:
    """Start a server that must not start; return its exit code and what it said, but for warnings."""
    with tempfile.TemporaryDirectory(prefix="gk-") as folder:
        finished = subprocess.run(
            [sys.executable, "-m", "gatekeeper", "serve", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            env=server_environment(Path(folder), **{"GATEKEEPER_LOG_LEVEL": "error"} | environment),
            check=False,
        )
    assert finished.stdout == ""
    return finished.returncode, finished.stderr


async def attempt_to_listen(address: str) -> None:
    """Listen where it must not be possible."""
    server = grpc.aio.server()
    try:
        listen(server, address)
    finally:
        await server.stop(0)


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Make a database without tables."""
    name = f"e_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        yield url_of(postgres, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def test_a_port_in_use(wire: Wire) -> None:
    """One line that says which, and exit code 1; two servers never share a port."""
    code, said = fail_to_serve("--listen", wire.address, "--database-url", served_url(wire.database_url))
    assert code == 1
    assert re.fullmatch(rf"gatekeeper: Cannot listen on {wire.address}: .*in use.*--listen\.\n", said)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "0.0.0.0:0",
            "[::]:0",
            "192.0.2.1:0",
            "128.0.0.1:0",
            "[::ffff:192.0.2.1]:0",
            "127.evil.example:0",
            "localhost.example:0",
        ),
        *("127.0.0.1", "127.0.0.1:", "127.0.0.1:http", ":50051", "", "127.0.0.1:99999", "tcp:127.0.0.1:0"),
        *("127.0.0.1:٥٠٠٥١", "127.0.0.1:-1"),
        *("unix:/no/such/folder/socket", "unix:", "unix:/", f"unix:/tmp/{'x' * 200}"),
    ],
)
def test_addresses_that_are_refused(address: str) -> None:
    """What is not a loopback address with a port, or a path that a socket can have, is refused before it is bound."""
    with pytest.raises(ListenError, match=r"^Cannot listen on"):
        asyncio.run(attempt_to_listen(address))


def test_a_schema_that_is_unknown(empty_url: str) -> None:
    """An empty database is refused with the command that helps, one from the future with the advice to update."""
    code, said = fail_to_serve("--listen", "127.0.0.1:0", "--database-url", empty_url)
    assert (code, said.count("\n")) == (1, 1)
    assert "gatekeeper migrate" in said
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num text)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    code, said = fail_to_serve("--listen", "127.0.0.1:0", "--database-url", empty_url)
    assert (code, said.count("\n")) == (1, 1)
    assert "9999" in said
    assert "newer" in said


def test_a_database_that_is_away() -> None:
    """One line without the password, and exit code 1."""
    url = "postgresql://somebody:hush-hush@127.0.0.1:1/nothing"
    code, said = fail_to_serve("--listen", "127.0.0.1:0", "--database-url", url)
    assert code == 1
    assert "hush" not in said
    assert said.splitlines()[-1].startswith("gatekeeper: ")


def test_a_setting_that_makes_no_sense() -> None:
    """A setting out of its bounds is a usage error that names it."""
    code, said = fail_to_serve("--listen", "127.0.0.1:0", GATEKEEPER_QUEUE_MAX="0")
    assert code == 2
    assert "queue_max" in said.lower()


def test_a_socket_file(start_server: ServerFactory, wire: Wire, organization: str, tmp_path: Path) -> None:
    """unix:PATH serves beside a port, for its owner alone; a socket that a crash left is taken over."""
    address = f"unix:{tmp_path}/gk.sock"
    for amount in (1, 2):
        server = start_server("--listen", address, database_url=wire.database_url)
        assert stat.S_IMODE((tmp_path / "gk.sock").stat().st_mode) == 0o600
        for target in (address, server.address):
            other = Wire(target, wire.database_url)
            other.hold(organization, "0.5")
            other.close()
        assert decimals(wire.budget(organization))[1] == amount
        if amount == 1:
            server.kill()
    with pytest.raises(ListenError, match="another server answers there"):
        asyncio.run(attempt_to_listen(address))


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    """A path that names something else is refused, and what is there is not touched."""
    (tmp_path / "precious").write_text("work")
    with pytest.raises(ListenError, match="no socket"):
        asyncio.run(attempt_to_listen(f"unix:{tmp_path}/precious"))
    assert (tmp_path / "precious").read_text() == "work"


def is_refused(wire: Wire, organization: str) -> bool:
    """Tell whether a new call is UNAVAILABLE."""
    try:
        wire.status(organization)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        return True
    return False


def test_calls_under_way_are_finished(start_server: ServerFactory, wire: Wire, organization: str) -> None:
    """Told to stop, a server answers what it has begun, refuses what comes then, and exits with 0."""
    wire.cap(organization, "10")
    server = start_server(database_url=wire.database_url)
    other = Wire(server.address, wire.database_url)
    with beside() as pool:
        with wire.locked(organization):
            calls = [pool.submit(other.reserve, organization, "1") for _ in range(3)]
            wire.wait_for_lock()
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: is_refused(other, organization))
        assert all(call.result().HasField("reservation") for call in calls)
    assert server.process.wait(TIMEOUT_S) == 0
    assert decimals(wire.budget(organization))[1] == 3
    other.close()


def test_health_goes_down_first(start_server: ServerFactory, wire: Wire, organization: str) -> None:
    """NOT_SERVING is told at once, to who watches too, while calls are still served for as long as was set."""
    server = start_server(database_url=wire.database_url, GATEKEEPER_DRAIN_DELAY_S="1")
    other = Wire(server.address, wire.database_url)
    watch = other.watch_health()
    assert next(watch).status != NOT_SERVING
    server.process.send_signal(signal.SIGINT)
    assert next(watch).status == NOT_SERVING
    for service in ("", "gatekeeper.v1.GatekeeperService", "gatekeeper.v1.ReportService"):
        assert other.health(service) == NOT_SERVING
    other.hold(organization, "1")
    watch.cancel()
    assert server.process.wait(TIMEOUT_S) == 0
    other.close()


def test_a_second_server_on_the_same_books(start_server: ServerFactory, wire: Wire, organization: str) -> None:
    """Servers share a database: one finishes what the other began, and both see one budget."""
    other = Wire(start_server(database_url=wire.database_url).address, wire.database_url)
    wire.cap(organization, "2")
    held = wire.hold(organization, "2", reservation_id="same")
    assert other.hold(organization, "2", reservation_id="same") == held
    assert other.deny(organization, "1")
    assert wire.commit(held, "1") == other.commit(held, "1")
    other.close()
