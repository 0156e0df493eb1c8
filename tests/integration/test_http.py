"""What does a server show over HTTP, to whom, and what while the database is away?"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gatekeeper.addresses import ListenError
from gatekeeper.cli.descriptors import RESERVE, descriptors_wanted
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper.settings import load_settings
from gatekeeper.web import server as web
from tests.conftest import ServerFactory, cut_off, served_url, server_environment
from tests.contract.wire import until
from tests.integration.observing import Connect, Watch, Watched

ELSEWHERE = ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "127.1:0")


def test_health_and_readiness(watch: Watch) -> None:
    """A server that serves is alive, and ready with each of its parts."""
    watched = watch()
    assert watched.get("/healthz").json() == {"alive": True}
    ready = watched.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "parts": {"database": True, "schema": True, "not_stopping": True}}


def test_a_database_that_is_away(postgres: EmbeddedPostgres, watch: Watch, wire_to: Connect) -> None:
    """The process is alive and not ready, its scrapes answer, and what the books said grows old until it is back."""
    watched = watch()
    wire = wire_to(watched)
    wire.hold("acme", "1")
    assert watched.scrape().of("gatekeeper_holds_open") == 1
    with cut_off(postgres, wire.database_url):
        until(lambda: watched.get("/readyz").status_code == 503)
        assert watched.get("/readyz").json()["parts"]["database"] is False
        assert watched.get("/healthz").status_code == 200
        scrape = watched.scrape()
        assert scrape.of("gatekeeper_holds_open") == 1
        until(lambda: age_s(watched) > (scrape.of("gatekeeper_figures_age_seconds", query="counts") or 0))
        assert scrape.of("gatekeeper_database_up") == scrape.of("gatekeeper_ready") == 0
        assert scrape.of("gatekeeper_rpcs_total", method="Reserve", code="OK") == 1
    until(lambda: watched.get("/readyz").status_code == 200)
    wire.hold("acme", "1")
    until(lambda: watched.scrape().of("gatekeeper_holds_open") == 2)


def age_s(watched: Watched) -> float:
    """Return how old the figures of the books are."""
    age = watched.scrape().of("gatekeeper_figures_age_seconds", query="counts")
    assert age is not None
    return age


def test_silent_connections_keep_nobody_out(watch: Watch) -> None:
    """However many ask for nothing, whoever asks is answered, and there are no more of them than the bound."""
    watched = watch()
    place = urlsplit(watched.url)
    with ExitStack() as stack:
        for _ in range(10 * web.CONNECTIONS_MAX):
            stack.enter_context(socket.create_connection((str(place.hostname), place.port or 0), timeout=10))
        for path in ("/healthz", "/readyz", "/metrics"):
            assert watched.get(path).status_code == 200
        folder = Path(f"/proc/{watched.server.process.pid}/fd")
        if folder.exists():
            until(lambda: len([*folder.iterdir()]) < RESERVE + web.CONNECTIONS_MAX + web.BACKLOG)


def test_descriptors_are_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where HTTP is served, its connections are wanted besides."""
    without = descriptors_wanted(load_settings())
    monkeypatch.setenv("GATEKEEPER_HTTP_LISTEN", "127.0.0.1:0")
    assert descriptors_wanted(load_settings()) == without + web.CONNECTIONS_MAX + web.BACKLOG


def test_a_server_that_stops_says_so_first(watch: Watch) -> None:
    """From the signal on it is not ready, and still alive, for as long as load balancers are given to notice."""
    watched = watch(GATEKEEPER_DRAIN_DELAY_S="2")
    watched.server.process.send_signal(signal.SIGTERM)
    until(lambda: watched.get("/readyz").status_code == 503)
    assert watched.get("/readyz").json()["parts"] == {"database": True, "schema": True, "not_stopping": False}
    assert watched.get("/healthz").status_code == 200
    assert watched.server.process.wait(20) == 0


def test_only_reading_is_allowed(watch: Watch) -> None:
    """GET and HEAD are answered, nothing else is, and no answer says what serves."""
    watched = watch()
    for path in ("/metrics", "/healthz", "/readyz"):
        for method in ("GET", "HEAD"):
            answer = httpx.request(method, watched.url + path)
            assert answer.status_code == 200
            assert "server" not in answer.headers
            assert answer.headers["cache-control"] == "no-store"
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert httpx.request(method, watched.url + path).status_code == 405
    assert watched.get("/").status_code == 404


def test_other_names_are_refused(watch: Watch) -> None:
    """A web page that points a name of its own at this machine reads nothing."""
    watched = watch()
    assert watched.get("/metrics", headers={"Host": "rebound.example:9464"}).status_code == 400
    port = urlsplit(watched.url).port
    assert watched.get("/metrics", headers={"Host": f"localhost:{port}"}).status_code == 200


def test_what_is_no_request_is_refused(watch: Watch) -> None:
    """Headers that are too large, or no HTTP at all, get 400 and a closed connection."""
    watched = watch()
    place = urlsplit(watched.url)
    for sent in (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"\x16\x03\x01 hello\r\n\r\n"):
        with socket.create_connection((str(place.hostname), place.port or 0), timeout=10) as connection:
            connection.sendall(sent)
            answer = b""
            while part := connection.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 400 ")
    assert watched.get("/healthz").status_code == 200


def test_without_http_there_is_none(start_server: ServerFactory, database_url: str) -> None:
    """Unless it is asked for, nothing is served over HTTP, and nothing is said about it."""
    server = start_server(database_url=database_url)
    assert server.stop() == 0
    assert "http://" not in server.process.stdout.read()


@pytest.mark.parametrize("address", ELSEWHERE)
def test_other_machines_are_kept_out(address: str) -> None:
    """An address that others reach is refused, unless it is said that they may."""
    with pytest.raises(ListenError, match="GATEKEEPER_HTTP_OPEN=1"):
        web.hosts_of(address, is_open=False)
    assert web.hosts_of(address, is_open=True) == ("*",)


def test_names_count_on_loopback_whoever_may_reach_it() -> None:
    """That the network is safe says nothing about web pages that are opened on this machine."""
    for address in ("127.0.0.1:0", "localhost:0", "[::1]:0"):
        assert web.hosts_of(address, is_open=True) == web.hosts_of(address, is_open=False)
        assert "*" not in web.hosts_of(address, is_open=True)


@pytest.mark.parametrize("address", ["unix:/tmp/x", "127.0.0.1", "::1:9464", "127.0.0.1:99999", ":9464"])
def test_addresses_that_are_none(address: str) -> None:
    """What is no HOST:PORT is refused with a word on how it looks."""
    with pytest.raises(ListenError, match="HOST:PORT"):
        web.hosts_of(address, is_open=True)


def refused_start(tmp_path: Path, database_url: str, address: str) -> subprocess.CompletedProcess[str]:
    """Start a server that cannot."""
    command = [sys.executable, "-m", "gatekeeper", "serve", "--listen", "127.0.0.1:0", "--http", address]
    return subprocess.run(
        [*command, "--database-url", served_url(database_url)],
        env=server_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_port_in_use_is_an_error_in_a_line(tmp_path: Path, database_url: str) -> None:
    """A server whose HTTP port is taken does not start, and says which one it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = refused_start(tmp_path, database_url, address)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"gatekeeper: Cannot listen on {address}: the port is in use or not allowed; give another with --http."
    )


def test_off_loopback_is_an_error_in_a_line(tmp_path: Path, database_url: str) -> None:
    """So is an address that others reach."""
    refused = refused_start(tmp_path, database_url, "0.0.0.0:0")
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("gatekeeper: Cannot listen on 0.0.0.0:0: over HTTP, whoever reaches it")


@pytest.mark.parametrize("limit", ["CONNECTION_S_MAX", "HEAD_S_MAX"])
def test_connections_do_not_last(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """One that asks for nothing, or too slowly, is closed after a while; others are answered meanwhile."""
    monkeypatch.setattr(web, limit, 0.3)

    async def hello(_request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def visit() -> None:
        async with web.serving(Starlette(routes=[Route("/", hello)]), "127.0.0.1:0") as address:
            host, _, port = address.rpartition(":")
            idle, lazy = await asyncio.open_connection(host, int(port))
            slow, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HT")
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"http://{address}/")).text == "hello"
            async with asyncio.timeout(10):
                for reader in (idle, slow):
                    try:
                        assert await reader.read() == b""
                    except ConnectionResetError:
                        continue
            for each in (lazy, writer):
                each.close()

    asyncio.run(visit())
