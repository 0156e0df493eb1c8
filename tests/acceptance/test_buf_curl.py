"""Can people call the server with the tools that they have: buf curl and grpcurl, by reflection, with a token?

Whoever has no grpcurl on the PATH has those tests skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
import trustme
from google.protobuf import json_format

from gatekeeper.embedded import EmbeddedPostgres
from tests.acceptance.rpcs import descriptor, response_of
from tests.conftest import ServerFactory, verify
from tests.contract.conftest import _database, _served
from tests.contract.requests import ADMIN, GATEKEEPER, REPORT, SERVICE_OF, valid
from tests.contract.secured import Secured
from tests.contract.test_rights import OURS, prepared
from tests.contract.wire import Wire

TIMEOUT_S = 30
SERVICES = {GATEKEEPER, REPORT, ADMIN}


class Tool(Protocol):
    """A program that calls gRPC services of which it knows nothing before."""

    def services(self) -> set[str]: ...

    def methods(self, service: str) -> set[str]: ...

    def describes(self, rpc: str) -> bool: ...

    def call(self, rpc: str, body: str, token: str | None) -> subprocess.CompletedProcess[str]: ...


class Buf:
    """`buf curl`. Its token comes from a file of headers, not by an argument that everybody sees."""

    program = str(Path(sys.executable).parent / "buf")

    def __init__(self, folder: Path, address: str, ca: Path | None) -> None:
        self.headers = folder / "headers"
        self.base = f"{'http' if ca is None else 'https'}://{address}"
        self.flags = ["curl", "--protocol", "grpc", *(["--cacert", str(ca)] if ca else ["--http2-prior-knowledge"])]

    def services(self) -> set[str]:
        return {*self._ask("--list-services", self.base).stdout.split()}

    def methods(self, service: str) -> set[str]:
        listed = self._ask("--list-methods", self.base).stdout.split()
        return {path.rpartition("/")[2] for path in listed if path.startswith(f"{service}/")}

    def describes(self, rpc: str) -> bool:
        """Tell whether it got the file by reflection; it tells no more."""
        file = descriptor(rpc).containing_service.file.name
        told = self._ask("--verbose", f"{self.base}/{SERVICE_OF[rpc]}/{rpc}").stderr
        return f'Server reflection has resolved file "{file}"' in told

    def call(self, rpc: str, body: str, token: str | None) -> subprocess.CompletedProcess[str]:
        self.headers.write_text(f"authorization: Bearer {token}\n" if token else "")
        url = f"{self.base}/{SERVICE_OF[rpc]}/{rpc}"
        command = [self.program, *self.flags, "--header", f"@{self.headers}", "--data", "@-", url]
        return answered(rpc, command, body)

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return finished([self.program, *self.flags, *arguments])


class Grpcurl:
    """`grpcurl`. Its token comes from the environment."""

    program = shutil.which("grpcurl") or ""

    def __init__(self, _folder: Path, address: str, ca: Path | None) -> None:
        self.address = address
        self.flags = ["-cacert", str(ca)] if ca else ["-plaintext"]

    def services(self) -> set[str]:
        return {*self._ask(self.address, "list").stdout.split()}

    def methods(self, service: str) -> set[str]:
        listed = self._ask(self.address, "list", service).stdout.split()
        return {name.rpartition(".")[2] for name in listed}

    def describes(self, rpc: str) -> bool:
        told = self._ask(self.address, "describe", f"{SERVICE_OF[rpc]}.{rpc}").stdout
        return f"rpc {rpc} ( .gatekeeper.v1.{rpc}Request )" in told

    def call(self, rpc: str, body: str, token: str | None) -> subprocess.CompletedProcess[str]:
        header = ["-expand-headers", "-H", "authorization: Bearer ${TOKEN}"] if token else []
        path = f"{SERVICE_OF[rpc]}/{rpc}"
        command = [self.program, *self.flags, *header, "-d", "@", self.address, path]
        return answered(rpc, command, body, TOKEN=token or "")

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return finished([self.program, *self.flags, *arguments])


def answered(rpc: str, command: Sequence[str], body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call an RPC; leave a stream as soon as its first message has been told, which ends in a line of its own."""
    if not descriptor(rpc).server_streaming:
        return finished(command, body, **environment)
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=os.environ | environment, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(body)
        process.stdin.close()
        told = []
        for line in process.stdout:
            told.append(line)
            if line.rstrip() == "}":
                process.kill()
                return subprocess.CompletedProcess(command, 0, "".join(told), "")
        return subprocess.CompletedProcess(command, process.wait(TIMEOUT_S), "".join(told), process.stderr.read())


def finished(command: Sequence[str], body: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=body,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def asking(postgres: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return a server that asks for tokens, with an organization that is open."""
    with _database(postgres, template, "acceptance_tools") as url:
        with _served(url, tmp_path_factory.mktemp("tools"), GATEKEEPER_INSECURE="0") as wire:
            secured = Secured(wire)
            cap = valid("SetCap")
            cap.organization = OURS
            secured.call("SetCap", cap, secured.operator)
            yield secured
        assert verify(url) == []


@pytest.fixture(params=[Buf, Grpcurl], ids=["buf", "grpcurl"])
def kind(request: pytest.FixtureRequest) -> Any:
    """Return a kind of tool; skip where there is none."""
    if not Path(request.param.program).is_file():
        pytest.skip(f"no {request.param.__name__.lower()} on the PATH")
    return request.param


@pytest.fixture
def tool(kind: Any, asking: Secured, tmp_path: Path) -> Tool:
    made: Tool = kind(tmp_path, asking.wire.address, None)
    return made


def test_services_and_methods_are_listed(tool: Tool) -> None:
    """Reflection tells every service and every RPC, to those without a token too."""
    assert tool.services() >= SERVICES
    for service in SERVICES:
        assert tool.methods(service) == {rpc for rpc in SERVICE_OF if SERVICE_OF[rpc] == service}


def test_requests_are_described(tool: Tool) -> None:
    """The tool learns what a request is made of."""
    for rpc in ("Reserve", "ListAuditEvents", "CreateToken"):
        assert tool.describes(rpc)


def test_every_rpc_is_called(tool: Tool, asking: Secured) -> None:
    """With JSON and a token, each answers with its response; without one, it says what is missing."""
    for rpc in SERVICE_OF:
        body = json_format.MessageToJson(prepared(asking, rpc, OURS))
        done = tool.call(rpc, body, asking.operator)
        assert done.returncode == 0, (rpc, done.stderr)
        answer(rpc, done.stdout)
        refused = tool.call(rpc, body, None)
        assert refused.returncode != 0
        assert "unauthenticated" in refused.stderr.lower()


def test_it_works_over_tls(kind: Any, start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """With the authority's file, by https, or without -plaintext."""
    ca = trustme.CA()
    pair = ca.issue_cert("127.0.0.1")
    certificate, key, authority = (tmp_path / name for name in ("tls.crt", "tls.key", "ca.crt"))
    certificate.write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    pair.private_key_pem.write_to_path(key)
    ca.cert_pem.write_to_path(authority)
    server = start_server(
        "--tls-certificate", str(certificate), "--tls-key", str(key), database_url=database_url, GATEKEEPER_INSECURE="0"
    )
    wire = Wire(server.address, database_url)
    operator = Secured(wire).operator
    wire.close()
    tool: Tool = kind(tmp_path, server.address, authority)
    done = tool.call("Reserve", json.dumps({"organization": OURS, "amount": {"units": "1"}}), operator)
    assert done.returncode == 0, done.stderr
    assert answer("Reserve", done.stdout).HasField("reservation")


def answer(rpc: str, printed: str) -> Any:
    """Read the response of an RPC; what is no such response raises."""
    return json_format.Parse(printed, response_of(rpc)())
