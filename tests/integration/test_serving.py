"""What does a server process say of its transport, and what do others see of it?"""

from __future__ import annotations

import json
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from gatekeeper.cli.descriptors import descriptors_wanted
from gatekeeper.settings import load_settings
from gatekeeper_client import Client
from gatekeeper_client.channel import tls_for
from tests.conftest import Server, ServerFactory, server_environment
from tests.integration.certificates import Authority, Files

TIMEOUT_S = 20


def cmdline(pid: int) -> str:
    """Return what every user of the machine can read of a process's arguments."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().rstrip()


def password_in(url: str) -> str:
    """Return the password of a test's database."""
    return url.partition("@")[0].rpartition(":")[2]


def events(path: Path) -> list[dict[str, Any]]:
    """Return what a server has logged."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def is_healthy(target: str, credentials: grpc.ChannelCredentials | None = None) -> bool:
    """Tell whether a server answers there."""
    channel = grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target)
    with channel:
        stub: Any = HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_no_password_in_the_title(start_server: ServerFactory, database_url: str) -> None:
    """The URL that came on the command line is not in the process's title; what else was asked is."""
    server = start_server(database_url=database_url)
    title = cmdline(server.process.pid)
    assert title == "gatekeeper serve --listen 127.0.0.1:0 --database-url ***"
    assert password_in(database_url) not in title


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.parametrize("command", ["verify", "doctor", "migrate"])
def test_no_password_in_the_title_of_any_command(command: str, tmp_path: Path) -> None:
    """Whatever the form, the title has lost the URL before anybody is connected to."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://somebody:hush-hush@127.0.0.1:{silent.getsockname()[1]}/nothing"
        process = subprocess.Popen(
            [sys.executable, "-m", "gatekeeper", command, f"--database-url={url}"],
            env=server_environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            silent.settimeout(TIMEOUT_S)
            with silent.accept()[0]:
                assert cmdline(process.pid) == f"gatekeeper {command} --database-url=***"
        finally:
            process.kill()
            process.wait()


def test_insecure_is_said_at_every_start(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """A server that asks nobody for a token says so in its log and on the screen; others do not."""
    server = start_server("--insecure", database_url=database_url)
    (warning,) = [event for event in events(tmp_path / "server-0.log") if event["event"] == "serve.insecure"]
    assert warning["level"] == "warning"
    assert server.process.stdout.readline().startswith("  CAUTION     --insecure")
    start_server(database_url=database_url, GATEKEEPER_INSECURE="0")
    assert not [event for event in events(tmp_path / "server-1.log") if event["event"] == "serve.insecure"]


def refusal(tmp_path: Path, *arguments: str, **environment: str) -> str:
    """Return the one line with which a server does not start."""
    finished = subprocess.run(
        [sys.executable, "-m", "gatekeeper", "serve", "--data-dir", str(tmp_path / "pg"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=server_environment(tmp_path, **environment),
        check=False,
    )
    assert (finished.returncode, finished.stdout) == (1, "")
    return finished.stderr.splitlines()[-1]


def test_refusals(tmp_path: Path, database_url: str) -> None:
    """What is not safe ends the start with one line, before anything is served."""
    on_database = ("--database-url", database_url)
    said = refusal(tmp_path, *on_database, "--listen", "0.0.0.0:0")
    assert said.startswith("gatekeeper: Cannot listen on 0.0.0.0:0: --insecure asks nobody")
    said = refusal(tmp_path, *on_database, "--listen", "0.0.0.0:0", GATEKEEPER_INSECURE="0")
    assert said.startswith("gatekeeper: Cannot listen on 0.0.0.0:0: without TLS, tokens can be read")
    said = refusal(tmp_path, *on_database, "--listen", "127.0.0.1:0", "--tls-key", "k")
    assert said == "gatekeeper: Cannot listen on 127.0.0.1:0: TLS takes both --tls-certificate and --tls-key."


def limit(pid: int) -> tuple[str, str]:
    """Return how many descriptors a process may have, and how many it may allow itself."""
    (line,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max open")]
    soft, hard = line.split()[3:5]
    return soft, hard


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_descriptors(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """A server allows itself as many as it may, and warns if connections could need more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        server = start_server(database_url=database_url, GATEKEEPER_CONNECTIONS_MAX="100")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert limit(server.process.pid) == (str(hard), str(hard))
    assert "serve.descriptors_few" not in (tmp_path / "server-0.log").read_text()
    finished = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 700 && exec "$0" "$@"', sys.executable, "-m", "gatekeeper", "serve"],
        capture_output=True,
        text=True,
        timeout=60,
        env=server_environment(
            tmp_path,
            GATEKEEPER_DATABASE_URL=database_url,
            GATEKEEPER_CONNECTIONS_MAX="600",
            GATEKEEPER_LISTEN="0.0.0.0:0",
        ),
        check=False,
    )
    (line,) = [line for line in finished.stderr.splitlines() if "serve.descriptors_few" in line]
    warning = json.loads(line)
    assert (warning["level"], warning["allowed"], warning["wanted"]) == ("warning", 700, 800)


def test_descriptors_of_a_relay() -> None:
    """A Unix socket that tells who calls takes three for each connection, every other address one."""
    given: dict[str, Any] = {"connections_max": 10, "listen": ("127.0.0.1:0", "unix:/s")}
    assert descriptors_wanted(load_settings(**given)) == 220
    assert descriptors_wanted(load_settings(**given, unix_peers=True)) == 240


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return the TLS files of a server, and the authority of its clients."""
    return Authority().write(tmp_path / "tls", "localhost")


def served(server: Server, files: Files, **shown: str) -> bool:
    """Tell whether our own client gets an answer over TLS."""
    target = server.address.replace("127.0.0.1", "localhost")
    given = tls_for(target, {"ca_file": str(files.client_ca), **shown})
    return is_healthy(target, given)


def test_transport_by_options(start_server: ServerFactory, database_url: str, files: Files, tmp_path: Path) -> None:
    """Certificate, key, authorities, mode and peers can all be given on the command line."""
    server = start_server(
        *("--tls-certificate", str(files.certificate), "--tls-key", str(files.key)),
        *("--tls-client-ca", str(files.client_ca)),
        *("--listen", f"unix:{tmp_path}/s", "--unix-mode", "0660", "--unix-peers"),
        database_url=database_url,
    )
    assert not served(server, files)
    assert not is_healthy(server.address)
    assert served(server, files, certificate_file=str(files.certificate), key_file=str(files.key))
    assert is_healthy(f"unix:{tmp_path}/s")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    with Client(f"unix:{tmp_path}/s") as client:
        assert client.reserve("acme", amount="0.01").admitted
    assert server.stop() == 0
    assert not (tmp_path / "s").exists()


def test_transport_by_environment(start_server: ServerFactory, database_url: str, files: Files, tmp_path: Path) -> None:
    """Each option has its variable."""
    server = start_server(
        *("--listen", f"unix:{tmp_path}/s"),
        database_url=database_url,
        GATEKEEPER_TLS_CERTIFICATE_FILE=str(files.certificate),
        GATEKEEPER_TLS_KEY_FILE=str(files.key),
        GATEKEEPER_UNIX_MODE="0660",
        GATEKEEPER_UNIX_PEERS="1",
    )
    assert served(server, files)
    assert not is_healthy(server.address)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
