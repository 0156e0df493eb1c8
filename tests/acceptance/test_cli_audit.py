"""Can the audit trail be listed, exported and verified from the command line?"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gatekeeper.services import audit_keys
from gatekeeper.storage import audit
from gatekeeper_client import Client
from tests.acceptance.commands import Done, failed, refused, run
from tests.conftest import Server, ServerFactory, served_url, wait_until
from tests.contract.wire import until
from tests.integration.trails import KEYLESS, chain_all, connected, event


@pytest.fixture
def at(server: Server) -> dict[str, str]:
    """Return the environment that names the server and the organization, which has a trail."""
    make_trail(server)
    return {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}


def make_trail(server: Server) -> None:
    """Set a budget twice, and be denied in between."""
    with Client(server.address) as client:
        client.set_cap("acme", cap="1", scope=("CAMPAIGN", "spring"), reason="a beginning")
        client.reserve("acme", amount="3", campaign="spring", reservation_id="r-1")
        client.set_cap("acme", cap="2", scope=("CAMPAIGN", "spring"), reason="it sells")
        until(lambda: all(event.sequence for event in client.list_audit_events("acme")))


def lines(done: Done) -> list[dict[str, Any]]:
    """Return the JSON lines of a command that succeeded."""
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def test_table(at: dict[str, str]) -> None:
    """`audit` shows the newest first: when, what, who, from where, to what, what changed, and why."""
    shown = run("audit", **at)
    assert shown.code == 0
    rows = shown.out.splitlines()
    (changed,) = [row for row in rows if "it sells" in row]
    (denied,) = [row for row in rows if "CALL_DENIED" in row]
    assert rows.index(changed) < rows.index(denied)
    for text in ("BUDGET_SET", "anyone (operator)", "campaign 'spring'", "cap 1.00 -> 2.00"):
        assert text in changed
    for text in ("reservation 'r-1'", "OUT_OF_BUDGET, requested 3.00, shortfall 2.00"):
        assert text in denied


def test_json_lines(at: dict[str, str]) -> None:
    """`--json-lines` exports each entry as one line, with everything that is known, the newest first."""
    found = lines(run("audit", "--json-lines", **at))
    assert [entry["sequence"] for entry in found] == list(range(len(found), 0, -1))
    assert found[0]["before"]["cap"] == "1.00"
    assert found[0]["after"]["cap"] == "2.00"
    assert found[1]["before"] is None
    assert found[1]["after"]["shortfall"] == "2.00"
    assert run("audit", "--json", **at).document == {"organization": "acme", "audit_events": found}


def test_filters(at: dict[str, str]) -> None:
    """Entries are chosen by action, actor and time, and counted off by a limit."""
    whole = lines(run("audit", "--json-lines", **at))
    assert lines(run("audit", "--json-lines", "--limit", "2", **at)) == whole[:2]
    assert lines(run("audit", "--json-lines", "--action", "call_denied", **at)) == [whole[1]]
    assert lines(run("audit", "--json-lines", "--actor", "nobody", **at)) == []
    span = ("--since", whole[1]["event_time"], "--until", whole[0]["event_time"].replace("+00:00", ""))
    assert lines(run("audit", "--json-lines", *span, **at)) == [whole[1]]
    assert "no such entry" in run("audit", "--until", "2020-01-01", **at).out


@pytest.mark.parametrize(
    "arguments",
    [("--since", "yesterday"), ("--until", "2026-13-01"), ("--action", "NOTHING"), ("--limit", "0")],
)
def test_wrong_usage(arguments: tuple[str, str]) -> None:
    """What is asked wrongly is told in one line."""
    refused(run("audit", "--organization", "acme", *arguments))


def test_unknown_organization(at: dict[str, str]) -> None:
    """An organization without a trail is told in one line; the installation's own is empty at first."""
    assert "nobody" in failed(run("audit", "--organization", "nobody", **at))
    assert lines(run("audit", "--organization", "", "--json-lines", **at)) == []


def test_verification_passes(at: dict[str, str], database_url: str) -> None:
    """`verify --audit` passes on a sound trail and prints the heads, which it takes back for comparison."""
    done = run("verify", "--audit", "--database-url", database_url)
    assert done.code == 0
    assert "without an audit key" in done.err
    verdict, head = done.out.splitlines()
    assert verdict.startswith("PASS: ")
    assert re.fullmatch("acme=[0-9]+:[0-9a-f]{64}", head)
    sequence, link = head.removeprefix("acme=").split(":")
    kept = ("--head", head)
    assert run("verify", "--audit", *kept, "--database-url", database_url).code == 0
    found = run("verify", "--audit", "--json", "--organization", "acme", *kept, "--database-url", database_url)
    assert found.document["passed"] is True
    assert found.document["heads"] == [{"organization": "acme", "sequence": int(sequence), "link": link}]
    wrong = run("verify", "--audit", "--head", f"acme=1:{link}", "--database-url", database_url)
    assert wrong.code == 1
    assert "link 1: it is not the one that was kept elsewhere" in wrong.out
    assert head not in wrong.out


def test_verification_fails(at: dict[str, str], database_url: str) -> None:
    """`verify --audit` tells what was tampered with, and ends with 1."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE denials SET requested = requested / 3")
    done = run("verify", "--audit", "--database-url", database_url)
    assert done.code == 1
    assert done.out.startswith("FAIL: 1 difference in ")
    assert "'acme', reservation 'r-1': link " in done.out
    found = run("verify", "--audit", "--json", "--database-url", database_url)
    assert (found.code, found.document["passed"]) == (1, False)
    assert found.document["differences"][0]["reservation_id"] == "r-1"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--head", "acme=1:" + "0" * 64),
        ("--audit", "--head", "acme"),
        ("--audit", "--head", "acme=1:00"),
        ("--audit", "--head", "acme=x:" + "0" * 64),
        ("--audit", "--organization", "other", "--head", "acme=1:" + "0" * 64),
    ],
)
def test_wrong_heads(arguments: tuple[str, ...]) -> None:
    """A head that is none, or that nothing would be compared with, is refused."""
    refused(run("verify", *arguments))


def test_key(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """With a key, seals cannot be checked without it, servers without it say so, and it is for its owner alone."""
    path = tmp_path / "audit.key"
    audit_keys.load(path, create=True)
    make_trail(start_server(database_url=database_url, GATEKEEPER_AUDIT_KEY_FILE=str(path)))
    on = ("verify", "--audit", "--database-url", database_url)
    passed = run(*on, GATEKEEPER_AUDIT_KEY_FILE=str(path))
    assert (passed.code, passed.err) == (0, "")
    assert "sealed with another key" in run(*on).out
    assert "audit.key_differs" not in (tmp_path / "server-0.log").read_text()
    start_server(database_url=database_url)
    wait_until(lambda: "audit.key_differs" in (tmp_path / "server-1.log").read_text())
    path.chmod(0o644)
    assert "chmod 600" in failed(run(*on, GATEKEEPER_AUDIT_KEY_FILE=str(path)))
    assert "no such file" in failed(run(*on, GATEKEEPER_AUDIT_KEY_FILE=str(tmp_path / "none")))


def test_missing_key(database_url: str, tmp_path: Path) -> None:
    """A key file that somebody has named and that is not there is an error of every command, and is not made."""
    path = tmp_path / "none"
    on = {"GATEKEEPER_AUDIT_KEY_FILE": str(path)}
    for arguments in (
        ("serve", "--listen", "127.0.0.1:0"),
        ("token", "create", "ada", "--role", "operator"),
        ("verify", "--audit"),
    ):
        told = failed(run(*arguments, "--database-url", served_url(database_url), **on))
        assert str(path) in told
        assert "openssl rand -base64 32" in told
    assert not path.exists()


def test_installation_head(database_url: str) -> None:
    """The head of the installation's own chain is printed, and taken back, without an organization."""

    async def write() -> None:
        async with connected(database_url) as connection:
            await audit.write_event(connection, "", event(), KEYLESS)
        await chain_all(database_url, KEYLESS)

    asyncio.run(write())
    on = ("verify", "--audit", "--database-url", database_url)
    head = run(*on).out.splitlines()[-1]
    assert head.startswith("=1:")
    assert run(*on, "--head", head).code == 0
    assert run(*on, "--head", head[:-1] + ("0" if head[-1] != "0" else "1")).code == 1


def test_blocked_executions_are_logged(at: dict[str, str], tmp_path: Path) -> None:
    """A server writes denials into its log of blocked executions."""
    path = tmp_path / "logs-0" / "budget" / "blocked-executions.md"
    until(path.exists)
    until(lambda: "| `r-1` |" in path.read_text())
