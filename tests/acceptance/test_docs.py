"""Do the commands and programs in the documentation work as they stand there?"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Server

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/budgets.md", "docs/operate.md")
BIN = Path(sys.executable).parent
DEFAULT_TARGET = "127.0.0.1:50051"
# What is tried elsewhere: starting servers (every test does), and make targets (CI calls them).
ELSEWHERE = ("make ", "gatekeeper serve")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    lines = [line.removeprefix(".venv/bin/") for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(ELSEWHERE)]


def run(command: str, server: Server, database_url: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "BILLING_API_URL": server.address,
        "GATEKEEPER_DATABASE_URL": database_url,
    }
    line = command.replace(DEFAULT_TARGET, server.address)
    return subprocess.run(
        ["/bin/bash", "-c", line], env=environment, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_works(page: str, server: Server, database_url: str) -> None:
    """Pasted one after another, the commands of a page succeed."""
    tried = 0
    for command in commands(page):
        if shutil.which(shlex.split(command)[0], path=f"{BIN}:{os.environ['PATH']}") is None:
            continue
        finished = run(command, server, database_url)
        assert finished.returncode == 0 or is_doctor_at_odds(command, finished), f"{command}\n{finished}"
        tried += 1
    assert tried >= 2


def is_doctor_at_odds(command: str, finished: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether the doctor found what is true of a test's machine: another server on the default port."""
    return " doctor " in command and finished.returncode == 1 and "port" in finished.stdout


def test_the_reserve_of_the_readme_works_by_reflection(server: Server) -> None:
    """A gRPC client without the protos can make the call that the README shows."""
    (call,) = [command for command in commands("README.md") if command.startswith("grpcurl")]
    body = shlex.split(call)[3]
    url = f"http://{server.address}/gatekeeper.v1.GatekeeperService/Reserve"
    finished = subprocess.run(
        [BIN / "buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", body, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "RESERVATION_STATE_HELD" in finished.stdout


def test_the_program_of_the_readme_works(server: Server) -> None:
    """The README's Python program reserves, commits and prints its verdict."""
    (program,) = blocks("README.md", "python")
    program = program.replace(DEFAULT_TARGET, server.address)
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "True\n"


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of a page names a file."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} → {target}"
