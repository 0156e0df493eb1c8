"""Commands that call a server: whose token they show, whom they take for the server, and what they say when refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trustme

from tests.acceptance.commands import Done, failed, refused, run, unanswered
from tests.conftest import ServerFactory

NOWHERE = "127.0.0.1:1"
ELSEWHERE = "gatekeeper.invalid:50051"
WRONG = "gk_" + "x" * 43
REPLAYED = "model,input_tokens,output_tokens,stop\ngpt-4o,10,10,end\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the folder where programs of this user keep their data."""
    return tmp_path / "home"


@pytest.fixture
def operator_file(home: Path) -> Path:
    """Return where a server of this user puts the operator's token."""
    return home / "gatekeeper" / "operator.token"


@pytest.fixture
def asking(start_server: ServerFactory, database_url: str, operator_file: Path) -> ServerFactory:
    """Make the operator's token, and return what starts a server that asks for tokens."""
    own = {"GATEKEEPER_DATABASE_URL": database_url, "GATEKEEPER_OPERATOR_TOKEN_FILE": str(operator_file)}
    assert run("init", "--organization", "acme", **own).code == 0
    return partial(start_server, database_url=database_url, GATEKEEPER_INSECURE="0")


@pytest.fixture
def at(asking: ServerFactory, home: Path) -> dict[str, str]:
    """Start a server; return the environment of a user of its machine."""
    return {"BILLING_API_URL": asking().address, "GATEKEEPER_ORGANIZATION": "acme", "XDG_DATA_HOME": str(home)}


def asked(at: dict[str, str], *arguments: str, **more: str) -> Done:
    """Ask whether a call can be paid."""
    return run("check", "--amount", "0.10", *arguments, **at | more)


def test_the_operators_token_of_this_machine_is_found(at: dict[str, str], operator_file: Path) -> None:
    """In the user's data directory, or in the one that the environment names; nothing is said about it."""
    assert (asked(at).code, asked(at).err) == (0, "")
    elsewhere = at | {"XDG_DATA_HOME": "/nonexistent"}
    assert asked(elsewhere, GATEKEEPER_DATA_DIR=str(operator_file.parent)).code == 0
    line = unanswered(asked(elsewhere))
    assert "No token came with the call." in line
    assert "--token-file, GATEKEEPER_TOKEN or GATEKEEPER_TOKEN_FILE" in line


def test_the_nearest_token_is_shown(at: dict[str, str], operator_file: Path, tmp_path: Path) -> None:
    """Option before GATEKEEPER_TOKEN before GATEKEEPER_TOKEN_FILE before the operator's."""
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text(WRONG)
    right = operator_file.read_text()
    assert "none of this installation" in unanswered(asked(at, GATEKEEPER_TOKEN_FILE=str(wrong)))
    assert asked(at, GATEKEEPER_TOKEN_FILE=str(wrong), GATEKEEPER_TOKEN=right.strip()).code == 0
    assert asked(at, "--token-file", str(operator_file), GATEKEEPER_TOKEN=WRONG).code == 0
    assert WRONG not in unanswered(asked(at, "--token-file", str(wrong), GATEKEEPER_TOKEN=right.strip()))


def test_every_command_that_calls_takes_a_token_file(at: dict[str, str], operator_file: Path, tmp_path: Path) -> None:
    """And says in one line why it is refused without."""
    calls = tmp_path / "calls.csv"
    calls.write_text(REPLAYED)
    elsewhere = at | {"XDG_DATA_HOME": "/nonexistent"}
    listing = (("audit",), ("override", "list"), ("alerts", "list"))
    for command in (("status",), ("check",), ("cap", "5"), *listing, ("replay", str(calls), "--no-wait")):
        assert run(*command, "--token-file", str(operator_file), **elsewhere).code == 0
        told = unanswered if command == ("check",) else failed
        assert "No token came with the call." in told(run(*command, **elsewhere))


def test_a_role_that_does_not_cover_a_command(at: dict[str, str], database_url: str) -> None:
    """The line names the roles that do."""
    made = run("token", "create", "writer", "--role", "agent", **at, GATEKEEPER_DATABASE_URL=database_url)
    agent = at | {"GATEKEEPER_TOKEN": made.out.strip()}
    assert asked(agent).code == 0
    assert "SetCap takes one of the roles admin, operator" in failed(run("cap", "5", **agent))
    assert "NOT_FOUND" not in failed(run("status", "--organization", "other", **agent))


def test_a_token_file_that_everyone_can_read(at: dict[str, str], operator_file: Path) -> None:
    """It is used, with a word on how to close it."""
    operator_file.chmod(0o644)
    done = asked(at)
    assert done.code == 0
    assert f"every user of this machine may read {operator_file} (mode 0644)" in done.err


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file"), ("\n", "is empty"), ("a b", "white space")])
def test_a_token_file_that_is_none(content: str | None, problem: str, tmp_path: Path) -> None:
    """It is named, and no server is needed to find out."""
    if content is not None:
        (tmp_path / "token").write_text(content)
    line = refused(run("status", "--organization", "a", "--target", NOWHERE, "--token-file", str(tmp_path / "token")))
    assert f"token file {tmp_path / 'token'}" in line
    assert problem in line


def test_no_option_takes_a_token() -> None:
    """Every user of a machine could read it among the arguments; the help says so."""
    assert "No such option: --token" in refused(run("status", "--organization", "a", "--token", WRONG))
    assert "No option takes the token itself" in " ".join(run("status", "--help").out.split())


def test_a_token_stays_on_this_machine(operator_file: Path, home: Path) -> None:
    """The operator's is never shown elsewhere, and no other in the clear unless the network is said to be safe."""
    operator_file.parent.mkdir(parents=True)
    operator_file.write_text(WRONG)
    away = {"BILLING_API_URL": ELSEWHERE, "GATEKEEPER_ORGANIZATION": "acme", "XDG_DATA_HOME": str(home)}
    assert "no server answers" in unanswered(asked(away))
    assert f"would go to {ELSEWHERE} in the clear" in refused(asked(away, GATEKEEPER_TOKEN=WRONG))
    assert "no server answers" in unanswered(asked(away, GATEKEEPER_TOKEN=WRONG, GATEKEEPER_ALLOW_PLAINTEXT="1"))
    assert "in the clear" in refused(
        run("replay", __file__, "--target", NOWHERE, "--target", ELSEWHERE, **away, GATEKEEPER_TOKEN=WRONG)
    )


class Authority:
    """An authority whose certificates lie in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make it up."""
        self.folder = folder
        self._authority = trustme.CA()
        folder.mkdir()
        self._authority.cert_pem.write_to_path(self.file("ca.pem"))
        for name, identity in (("server", "127.0.0.1"), ("moved", "example.org"), ("planner", "planner@example.org")):
            certificate = self._authority.issue_cert(identity, common_name=name)
            certificate.private_key_pem.write_to_path(self.file(f"{name}.key"))
            certificate.cert_chain_pems[0].write_to_path(self.file(f"{name}.pem"))

    def file(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.folder / name)

    def served(self, name: str) -> dict[str, str]:
        """Return the environment of a server with a certificate."""
        return {
            "GATEKEEPER_TLS_CERTIFICATE_FILE": self.file(f"{name}.pem"),
            "GATEKEEPER_TLS_KEY_FILE": self.file(f"{name}.key"),
        }


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Make an authority."""
    return Authority(tmp_path / "tls")


def test_a_server_that_speaks_tls(asking: ServerFactory, authority: Authority, home: Path, tmp_path: Path) -> None:
    """It is known by its authority, from an option or the environment; whatever stands in the way has a name."""
    server = asking(**authority.served("server"))
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme", "XDG_DATA_HOME": str(home)}
    assert asked(at, "--ca-file", authority.file("ca.pem")).code == 0
    assert asked(at, GATEKEEPER_CA_FILE=authority.file("ca.pem")).code == 0
    assert "may want TLS" in unanswered(asked(at))
    other = Authority(tmp_path / "other").file("ca.pem")
    assert "no known authority vouches" in unanswered(asked(at, "--ca-file", other))
    assert "no known authority vouches" in unanswered(asked(at | {"BILLING_API_URL": f"https://{server.address}"}))
    moved = at | {"BILLING_API_URL": asking(**authority.served("moved")).address}
    assert "another host name" in unanswered(asked(moved, "--ca-file", authority.file("ca.pem")))


def test_a_server_that_does_not(at: dict[str, str], authority: Authority, tmp_path: Path) -> None:
    """It is told from one that is not there; so are files that are none."""
    assert "does not speak TLS" in unanswered(asked(at, "--ca-file", authority.file("ca.pem")))
    assert "No such file" in refused(asked(at, "--ca-file", str(tmp_path / "missing")))
    assert "needs a key file" in refused(asked(at, "--certificate-file", authority.file("planner.pem")))


def test_a_certificate_instead_of_a_token(
    asking: ServerFactory, database_url: str, authority: Authority, home: Path
) -> None:
    """Its role is what counts, though the operator's token lies at hand."""
    server = asking(**authority.served("server"), GATEKEEPER_TLS_CLIENT_CA_FILE=authority.file("ca.pem"))
    at = {
        "BILLING_API_URL": server.address,
        "GATEKEEPER_ORGANIZATION": "acme",
        "GATEKEEPER_DATABASE_URL": database_url,
        "GATEKEEPER_CA_FILE": authority.file("ca.pem"),
        "XDG_DATA_HOME": str(home),
    }
    own = ("--certificate-file", authority.file("planner.pem"), "--key-file", authority.file("planner.key"))
    assert "--certificate-file" in unanswered(asked(at))
    assert "No role is given to 'CN=planner'" in unanswered(asked(at, *own))
    assert run("token", "create", "planner", "--role", "agent", "--certificate", "CN=planner", **at).code == 0
    assert asked(at, *own).code == 0
    assert "roles admin, operator" in failed(run("cap", "5", *own, **at))


def test_a_call_loads_nothing_of_the_server() -> None:
    """A command that calls starts in a moment."""
    heavy = ["gatekeeper.embedded", "gatekeeper.settings", "psycopg", "pydantic_settings", "sqlalchemy"]
    script = (
        "import json, sys\nfrom gatekeeper.cli import main\n"
        f"try: main(['status', '--organization', 'a', '--target', '{NOWHERE}'])\n"
        f"except SystemExit: print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=dict(os.environ), check=True, capture_output=True, text=True, timeout=30
    )
    assert json.loads(done.stdout) == []
    assert done.stderr.count("\n") == 1
