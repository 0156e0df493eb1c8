"""Do the commands and programs in the documentation work as they stand there?"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatekeeper.domain.access import RIGHTS, Role
from gatekeeper.settings import Settings
from gatekeeper_client.credentials import TLS_VARIABLES
from tests.conftest import Server, ServerFactory

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/alerts.md",
    "docs/audit.md",
    "docs/budgets.md",
    "docs/callers.md",
    "docs/monthly-report.md",
    "docs/invoices.md",
    "docs/operate.md",
    "docs/overrides.md",
    "docs/reports.md",
)
BIN = Path(sys.executable).parent
DEFAULT_TARGET = "127.0.0.1:50051"
# What is tried elsewhere: starting servers (every test does), and make targets (CI calls them).
ELSEWHERE = ("make ", "gatekeeper serve")
# Names in the environment that are no settings of the server.
OF_CLIENTS = ("GATEKEEPER_TOKEN", "GATEKEEPER_TOKEN_FILE")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str, language: str = "sh") -> list[str]:
    lines = [line.removeprefix(".venv/bin/") for block in blocks(page, language) for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(ELSEWHERE)]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody who pastes commands, on the machine of a server that asks for tokens, in a folder of their own."""

    server: Server
    folder: Path
    environment: dict[str, str]

    def runs(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as it stands on a page, but for the server's port."""
        return subprocess.run(
            ["/bin/bash", "-c", command.replace(DEFAULT_TARGET, self.server.address)],
            env=self.environment,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=60,
            check=False,
        )

    @contextmanager
    def programs(self, program: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Run a program of a page meanwhile; it ends with the block."""
        (self.folder / "program.py").write_text(program.replace(DEFAULT_TARGET, self.server.address))
        with subprocess.Popen(
            [sys.executable, "program.py"],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def reader(start_server: ServerFactory, database_url: str, tmp_path: Path) -> Reader:
    """Return the reader, who has done what `make run` does."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / ".local" / "share"),
        "GATEKEEPER_DATABASE_URL": database_url,
    }
    server = start_server(database_url=database_url, GATEKEEPER_INSECURE="0")
    reader = Reader(server=server, folder=tmp_path, environment=environment | {"BILLING_API_URL": server.address})
    assert reader.runs("gatekeeper init --organization first").returncode == 0
    return reader


def is_installed(command: str) -> bool:
    """Tell whether a command's program is there."""
    words = shlex.split(re.sub(r"\$\(.*?\)", "", command))
    program = next(word for word in words if not re.match("[A-Z_]+=", word))
    return shutil.which(program, path=f"{BIN}:{os.environ['PATH']}") is not None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works(page: str, reader: Reader) -> None:
    """Pasted one after another, the commands of a page succeed."""
    tried = [command for command in commands(page) if is_installed(command)]
    for command in tried:
        finished = reader.runs(command)
        assert finished.returncode == 0 or is_doctor_at_odds(command, finished), f"{command}\n{finished}"
    assert len(tried) >= 2


def is_doctor_at_odds(command: str, finished: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether the doctor found what is true of a test's machine: another server on the default port."""
    return " doctor " in command and finished.returncode == 1 and "port" in finished.stdout


def test_the_reserve_of_the_readme_works_by_reflection(reader: Reader) -> None:
    """A gRPC client without the protos can make the call that the README shows, with its token in the environment."""
    (call,) = [command for command in commands("README.md") if " grpcurl " in command]
    token, _, rest = call.partition(" grpcurl -plaintext -expand-headers ")
    header = "'authorization: Bearer ${TOKEN}'"
    assert header in rest
    # What grpcurl puts into headers itself, the shell has to here.
    flags = rest.partition(f" {DEFAULT_TARGET}")[0].replace(header, header.replace("'", '"'))
    url = f"http://{reader.server.address}/gatekeeper.v1.GatekeeperService/Reserve"
    finished = reader.runs(f"{token}; buf curl --protocol grpc --http2-prior-knowledge {flags} {url}")
    assert finished.returncode == 0, finished.stderr
    assert "RESERVATION_STATE_HELD" in finished.stdout


def test_the_program_of_the_readme_works(reader: Reader) -> None:
    """The README's Python program reserves, commits and prints its verdict, with the token that the README makes."""
    (made,) = [command for command in commands("README.md") if command.startswith("gatekeeper token create")]
    (program,) = blocks("README.md", "python")
    (reader.folder / "program.py").write_text(program.replace(DEFAULT_TARGET, reader.server.address))
    finished = reader.runs(f"GATEKEEPER_TOKEN=$({made}) python program.py")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "True\n"


def test_the_certificates_of_the_page_work(reader: Reader, start_server: ServerFactory, database_url: str) -> None:
    """A server with the files that the page makes lets in whom the page gives a role, by certificate alone."""
    for command in commands("docs/callers.md"):
        assert not command.startswith("openssl") or reader.runs(command).returncode == 0
    (given,) = [command for command in commands("docs/callers.md") if "--certificate spiffe" in command]
    assert reader.runs(given).returncode == 0
    (served,) = [line for line in "".join(blocks("docs/callers.md", "sh")).splitlines() if "serve --listen" in line]
    options = [str(reader.folder / word) if word.endswith((".pem", ".key")) else word for word in shlex.split(served)]
    server = start_server(*options[4:], database_url=database_url, GATEKEEPER_INSECURE="0")
    (call,) = commands("docs/callers.md", "tls")
    finished = reader.runs(call.replace("localhost:50051", server.address.replace("127.0.0.1", "localhost")))
    assert finished.stdout.startswith("Yes: "), finished


def test_whoever_pauses_and_asks_goes_on(reader: Reader) -> None:
    """The program of the page waits until an admin has approved what it asked for."""
    operator = {"GATEKEEPER_TOKEN_FILE": str(reader.folder / ".local/share/gatekeeper/operator.token")}
    (program,) = blocks("docs/overrides.md", "python")
    assert reader.runs("gatekeeper cap 0 --organization acme --campaign summer").returncode == 0
    with reader.programs(program, **operator) as asking:
        waiting = "gatekeeper override list --organization acme --state pending --json"
        while not (found := json.loads(reader.runs(waiting).stdout)["overrides"]):
            assert asking.poll() is None
        (override_id,) = (each["override_id"] for each in found)
        approved = reader.runs(f"gatekeeper override approve {override_id} --organization acme --reason yes")
        assert approved.returncode == 0, approved
        assert asking.communicate(timeout=30)[0] == f"admitted by {override_id}\n"
    assert (
        json.loads(reader.runs("gatekeeper override list --organization acme --json").stdout)["overrides"][0]["spent"]
        == "2.40"
    )


def test_the_receiver_of_the_page_works(reader: Reader, start_server: ServerFactory, database_url: str) -> None:
    """It takes what a server posts that has the page's secret, and prints it."""
    for command in commands("docs/alerts.md"):
        assert "webhook.secret" not in command or reader.runs(command).returncode == 0
    (program,) = blocks("docs/alerts.md", "python")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with reader.programs(program.replace("8090", str(port))) as receiver:
        server = start_server(
            database_url=database_url,
            GATEKEEPER_INSECURE="0",
            GATEKEEPER_ALERT_WEBHOOK_URL=f"http://127.0.0.1:{port}/",
            GATEKEEPER_ALERT_WEBHOOK_SECRET_FILE=str(reader.folder / "webhook.secret"),
            GATEKEEPER_ALERT_RETRY_S="0.2",
        )
        place = f"gatekeeper alerts test --organization first --target {server.address}"
        assert reader.runs(place).stdout.startswith("log delivered\nwebhook "), place
        assert receiver.stdout is not None
        assert receiver.stdout.readline().startswith("TEST ")


def test_the_table_of_roles_is_the_code() -> None:
    """Each RPC stands in one row, with the roles that may call it."""
    rows = re.findall(r"^\| (`\w+`.*?) \|(.*)\|$", (ROOT / "docs/callers.md").read_text(), re.MULTILINE)
    roles = (Role.AGENT, Role.VIEWER, Role.ADMIN, Role.OPERATOR)
    told = {
        rpc: {role for role, cell in zip(roles, cells.split("|"), strict=True) if cell.strip() == "yes"}
        for names, cells in rows
        if cells.count("|") == len(roles) - 1
        for rpc in re.findall(r"`(\w+)`", names)
    }
    assert told == RIGHTS


def test_settings_on_the_pages_are_there() -> None:
    """Every GATEKEEPER_… of a page is a setting, or one of the client's."""
    known = {f"GATEKEEPER_{name.upper()}" for name in Settings.model_fields} | {*TLS_VARIABLES.values(), *OF_CLIENTS}
    for page in PAGES:
        assert {*re.findall(r"GATEKEEPER_[A-Z_]+", (ROOT / page).read_text())} <= known, page


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of a page names a file."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} → {target}"
