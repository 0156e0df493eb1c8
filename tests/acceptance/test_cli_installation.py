"""Can books be verified and an installation be examined from the command line?"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from gatekeeper.cli.examination import examine_address
from gatekeeper.embedded import EmbeddedPostgres
from gatekeeper_client import Client, Hold
from tests.acceptance.commands import Done, failed, run
from tests.conftest import Server, server_environment, url_of


@pytest.fixture
def on(database_url: str) -> dict[str, str]:
    """Return the environment that names the database."""
    return {"GATEKEEPER_DATABASE_URL": database_url}


def checks(done: Done) -> dict[str, tuple[str, str, str]]:
    """Return what `doctor --json` found, by check."""
    return {found["check"]: (found["state"], found["what"], found["fix"]) for found in done.document["checks"]}


def free_address() -> str:
    """Return an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_books_that_pass(server: Server, on: dict[str, str]) -> None:
    """`verify` prints PASS and how much was looked at, while the server serves."""
    with Client(server.address) as client:
        hold = client.reserve("acme", amount="1", campaign="spring")
        assert isinstance(hold, Hold)
        hold.commit(amount="2")
    done = run("verify", **on)
    assert (done.code, done.err) == (0, "")
    assert done.out == "PASS: 1 organization, 1 balance, 1 reservation, 1 execution, 0 denials.\n"
    found = run("verify", "--organization", "acme", "--json", **on).document
    assert (found["passed"], found["executions"], found["differences"]) == (True, 1, [])
    assert "no organization 'other'" in failed(run("verify", "--organization", "other", **on))


def test_books_that_do_not(server: Server, on: dict[str, str]) -> None:
    """`verify` names each difference with what is expected and found, and exits with 1."""
    with Client(server.address) as client:
        hold = client.reserve("acme", amount="1")
        assert isinstance(hold, Hold)
    tamper(on, "+")
    done = run("verify", **on)
    assert done.code == 1
    assert done.out.startswith("FAIL: 1 difference in 1 organization, ")
    assert ": reserved: expected 1.00, found 1.000000001" in done.out
    document = run("verify", "--json", **on).document
    assert document["passed"] is False
    [difference] = document["differences"]
    assert difference | {"period": ""} == {
        "what": "reserved",
        "organization": "acme",
        "scope": {"kind": "ORGANIZATION", "id": ""},
        "window": "MONTH",
        "period": "",
        "expected": "1.00",
        "found": "1.000000001",
    }
    tamper(on, "-")


def tamper(on: dict[str, str], sign: str) -> None:
    """Move a balance by a nano."""
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        connection.execute(f"UPDATE balances SET reserved = reserved {sign} 0.000000001")


def test_a_sound_installation(server: Server, on: dict[str, str]) -> None:
    """`doctor` finds nothing to mend where everything runs, and exits with 0."""
    done = run("doctor", "--json", **on)
    assert done.code == 0
    assert done.document["healthy"] is True
    found = checks(done)
    assert {"python", "packages", "time zones", "postgres", "database", "clock", "schema", "prices"} <= found.keys()
    text = run("doctor", **on).out
    assert "ok    schema" in text


def test_secrets_are_masked(on: dict[str, str], postgres: EmbeddedPostgres) -> None:
    """`doctor` shows each setting that is not the default, and no password."""
    password = psycopg.conninfo.conninfo_to_dict(postgres.dsn)["password"]
    for arguments in ((), ("--json",)):
        done = run("doctor", *arguments, **on, MAX_MONTHLY_BUDGET="7")
        assert "monthly_budget=7" in done.out
        assert "password=***" in done.out
        assert str(password) not in done.out + done.err


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret@127.0.0.1:1/d", "host=127.0.0.1 port=1 password=s3cret", "s3cret"]
)
def test_a_database_that_is_away(url: str) -> None:
    """A database that cannot be reached fails, with what to do and without the password."""
    done = run("doctor", "--json", GATEKEEPER_DATABASE_URL=url)
    assert done.code == 1
    assert checks(done)["database"][0] == "fail"
    assert "s3cret" not in done.out


def test_an_old_schema(postgres: EmbeddedPostgres) -> None:
    """A database without our schema fails, and the fix is to migrate."""
    done = run("doctor", "--json", GATEKEEPER_DATABASE_URL=url_of(postgres, "postgres"))
    assert done.code == 1
    state, _, fix = checks(done)["schema"]
    assert (state, fix) == ("fail", "Run `gatekeeper migrate`.")


def test_newer_prices(on: dict[str, str]) -> None:
    """Where the installed prices are not those in force, there is a warning, which fails nothing."""
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        connection.execute("UPDATE price_books SET version = 'genai-prices-0.0.1-r1'")
    done = run("doctor", "--json", **on)
    assert done.code == 0
    assert checks(done)["prices"][0] == "warn"
    assert run("migrate", **on).code == 0
    assert checks(run("doctor", "--json", **on))["prices"][0] == "ok"


def test_where_a_server_listens(server: Server, on: dict[str, str]) -> None:
    """An address is free, served by a gatekeeper, or taken by another program, which fails."""
    assert examine_address(server.address).state == "ok"
    assert "serves" in examine_address(server.address).what
    assert examine_address(free_address()).what == "free"
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert examine_address(f"127.0.0.1:{other.getsockname()[1]}").state == "fail"
    assert examine_address("unix:/nonexistent/folder/socket").state == "fail"


def test_misspelt_settings(on: dict[str, str]) -> None:
    """A variable that begins like a setting and is none is a warning that names the right one."""
    done = run("doctor", "--json", **on, GATEKEEPER_QUEUE_MAXX="5")
    assert {"check": "settings", "state": "warn", "what": "GATEKEEPER_QUEUE_MAXX is not a setting",
            "fix": "rename it GATEKEEPER_QUEUE_MAX"} in done.document["checks"]  # fmt: skip


def test_settings_that_cannot_be_read() -> None:
    """Settings that make no sense are all named."""
    done = run("doctor", "--json", GATEKEEPER_QUEUE_MAX="0", GATEKEEPER_LOG_LEVEL="loud")
    assert done.code == 1
    assert [found["state"] for found in done.document["checks"]] == ["fail", "fail"]


def test_nothing_is_started(tmp_path: Path) -> None:
    """Without a database, `doctor` says so and starts none."""
    done = run("doctor", "--json", GATEKEEPER_DATA_DIR=str(tmp_path))
    assert checks(done)["database"][0] == "warn"
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_database(tmp_path: Path) -> None:
    """Commands start the embedded database for as long as they take, and find one that runs."""
    where = {"GATEKEEPER_DATA_DIR": str(tmp_path), "GATEKEEPER_ORGANIZATION": "acme"}
    assert run("init", "--monthly-budget", "5", **where).code == 0
    command = [sys.executable, "-m", "gatekeeper", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    own = server_environment(tmp_path / "logs")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=own) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        assert "5.00 USD left" in run("check", "--target", address, **where).out
        assert run("init", "--monthly-budget", "6", **where).code == 0
        assert "6.00 USD left" in run("check", "--target", address, **where).out
        assert checks(run("doctor", "--json", **where))["database"][0] == "ok"
        process.terminate()
        assert process.wait(20) == 0
    assert run("verify", **where).out.startswith("PASS: 1 organization")
