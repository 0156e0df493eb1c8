"""Can tokens be made, listed and ended from the command line, with secrets shown once and to nobody else?"""

from __future__ import annotations

import os
import pwd
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gatekeeper.domain.tokens import digest_of_secret, is_token
from tests.acceptance.commands import failed, refused, run


@pytest.fixture
def on(database_url: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment that names the database, and the folder for files."""
    return {"GATEKEEPER_DATABASE_URL": database_url, "GATEKEEPER_DATA_DIR": str(tmp_path / "data")}


def digests(on: dict[str, str]) -> list[bytes]:
    """Return what the database recognizes tokens in force by."""
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        return [row[0] for row in connection.execute("SELECT digest FROM tokens WHERE revoked_at IS NULL")]


def listed(on: dict[str, str], *arguments: str) -> list[dict[str, Any]]:
    """Return the tokens that are listed."""
    found: list[dict[str, Any]] = run("token", "list", *arguments, "--json", **on).document["tokens"]
    return found


def test_a_token_is_shown_once(on: dict[str, str]) -> None:
    """It is all that goes to standard output; the database knows its digest, and no other command prints it."""
    done = run("token", "create", "writer", "--role", "agent", "--organization", "acme", **on)
    secret = done.out.removesuffix("\n")
    assert done.code == 0
    assert is_token(secret)
    assert digests(on) == [digest_of_secret(secret)]
    assert done.err.startswith("acme's agent token 'writer' is made. ")
    assert "authorization: Bearer" in done.err
    assert secret not in done.err
    others = (("token", "list"), ("token", "list", "--json"), ("token", "revoke", "writer"), ("doctor", "--json"))
    for arguments in others:
        printed = run(*arguments, **on)
        assert secret not in printed.out + printed.err


def test_programs_get_one_document(on: dict[str, str]) -> None:
    """With --json, the token and what is known of it are one document."""
    before = datetime.now(UTC)
    options = ("--role", "AGENT", "--organization", "acme", "--campaign", "spring", "--expires", "90d", "--json")
    made = run("token", "create", "writer", *options, **on)
    assert made.err == ""
    assert is_token(made.document["secret"])
    token = made.document["token"]
    (found,) = listed(on)
    assert found == token
    assert {name: token[name] for name in ("organization", "name", "role", "scope", "identity", "state")} == {
        "organization": "acme",
        "name": "writer",
        "role": "AGENT",
        "scope": {"kind": "CAMPAIGN", "id": "spring"},
        "identity": "",
        "state": "IN_FORCE",
    }
    assert token["creator"] == pwd.getpwuid(os.getuid()).pw_name
    assert (token["revoke_time"], token["last_use_time"]) == (None, None)
    expires = datetime.fromisoformat(token["expire_time"])
    assert before + timedelta(days=90) <= expires <= datetime.now(UTC) + timedelta(days=90)


def test_an_expiry_on_a_day(on: dict[str, str]) -> None:
    """A date is its beginning, by UTC."""
    day = (datetime.now(UTC) + timedelta(days=100)).date()
    options = ("--role", "viewer", "--organization", "acme", "--expires", f"{day}", "--json")
    made = run("token", "create", "dashboard", *options, **on).document
    assert made["token"]["expire_time"] == f"{day}T00:00:00+00:00"


@pytest.mark.parametrize(
    ("options", "identity"),
    [
        (("--certificate", "spiffe://example.org/writer"), "spiffe://example.org/writer"),
        (("--certificate", "CN=writer"), "CN=writer"),
        (("--unix-user", "4711"), "uid=4711"),
        (("--unix-user", pwd.getpwuid(0).pw_name), "uid=0"),
    ],
)
def test_identities(on: dict[str, str], options: tuple[str, ...], identity: str) -> None:
    """A certificate or a user of this machine, by name or number, gets a role, and no secret."""
    create = ("token", "create", "writer", "--role", "agent", "--organization", "acme", *options)
    done = run(*create, **on)
    assert done.err == ""
    assert done.out.startswith(f"{identity} has the role of acme's agent token 'writer'. ")
    run("token", "revoke", "writer", **on)
    document = run(*create, "--json", **on).document
    assert (document["secret"], document["token"]["identity"]) == (None, identity)


def test_listing(on: dict[str, str]) -> None:
    """Tokens in force are listed, of an organization or of all; those that ended too if asked for."""
    for name, organization in (("a", "acme"), ("b", "acme"), ("c", "other")):
        run("token", "create", name, "--role", "admin", "--organization", organization, **on)
    run("token", "create", "root", "--role", "operator", **on)
    run("token", "revoke", "b", "--organization", "acme", **on)
    assert [token["name"] for token in listed(on)] == ["root", "c", "a"]
    assert [token["name"] for token in listed(on, "--organization", "acme")] == ["a"]
    assert [token["name"] for token in listed(on, "--organization", "")] == ["root"]
    everyone = listed(on, "--organization", "acme", "--all")
    assert [(token["name"], token["state"]) for token in everyone] == [("a", "IN_FORCE"), ("b", "REVOKED")]
    table = run("token", "list", "--all", **on).out
    assert all(word in table for word in ("State", "(all)", "operator", "revoked", "in force"))
    assert run("token", "list", "--organization", "nobody", **on).out == "There is no token.\n"


def test_revoking(on: dict[str, str]) -> None:
    """By name or id; a name that several organizations use needs the organization; what is not there is told."""
    for organization in ("acme", "other"):
        run("token", "create", "writer", "--role", "agent", "--organization", organization, **on)
    assert "organization: is needed" in refused(run("token", "revoke", "writer", **on))
    done = run("token", "revoke", "writer", "--organization", "acme", "--reason", "left", **on)
    assert done.out == "acme's agent token 'writer' is revoked. Every server refuses it within five seconds.\n"
    (other,) = listed(on)
    revoked = run("token", "revoke", other["token_id"], "--json", **on).document["token"]
    assert (revoked["organization"], revoked["state"]) == ("other", "REVOKED")
    assert "no token 'writer' in force" in failed(run("token", "revoke", "writer", **on))
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        found = connection.execute("SELECT organization, reason FROM audit_events WHERE action = 'TOKEN_REVOKED'")
        assert found.fetchall() == [("acme", "left"), ("other", "")]


def test_the_organization_of_the_environment(on: dict[str, str]) -> None:
    """It is taken where a token has one; an operator's has none, unless somebody says so."""
    on |= {"GATEKEEPER_ORGANIZATION": "acme"}
    run("token", "create", "writer", "--role", "agent", **on)
    assert run("token", "create", "root", "--role", "operator", **on).code == 0
    assert "organization" in refused(run("token", "create", "x", "--role", "operator", "--organization", "acme", **on))
    assert [token["name"] for token in listed(on)] == ["writer"]
    assert [token["name"] for token in listed(on, "--organization", "")] == ["root"]


AGENT = ("create", "x", "--role", "agent", "--organization", "acme")
WRONG = (
    (),
    ("create",),
    ("create", "x", "--organization", "acme"),
    ("create", "x", "--role", "king", "--organization", "acme"),
    ("create", "x", "--role", "agent"),
    ("create", " x", *AGENT[2:]),
    ("create", "x", "--role", "viewer", "--organization", "acme", "--campaign", "c"),
    (*AGENT, "--campaign", "c", "--agent", "a"),
    (*AGENT, "--expires", "soon"),
    (*AGENT, "--expires", "0d"),
    (*AGENT, "--expires", "2020-01-31"),
    (*AGENT, "--expires", "2027-02-30"),
    (*AGENT, "--expires", "9999d"),
    (*AGENT, "--certificate", "writer"),
    (*AGENT, "--certificate", "uid=0"),
    (*AGENT, "--certificate", "CN=a", "--unix-user", "0"),
    (*AGENT, "--unix-user", "no such user"),
    (*AGENT, "--unix-user", "99999999999"),
    (*AGENT, "--reason", "x" * 501),
    ("revoke",),
    ("list", "acme"),
)


def test_wrong_usage(on: dict[str, str]) -> None:
    """It costs one line and exit code 2, and no token is made."""
    for arguments in WRONG:
        refused(run("token", *arguments, **on))
    assert digests(on) == []


def test_a_name_that_is_taken(on: dict[str, str]) -> None:
    """It is a failure, in one line."""
    run("token", *AGENT, **on)
    assert "a token 'x' in force" in failed(run("token", *AGENT, **on))


def test_the_first_operator(on: dict[str, str], tmp_path: Path) -> None:
    """`init` puts an operator's token in a file for its user alone, and says where; once there is one, it does not."""
    done = run("init", "--organization", "acme", **on)
    path = tmp_path / "data" / "operator.token"
    secret = path.read_text().strip()
    assert done.out.splitlines()[-1] == f"The operator's token is in {path}; only you can read it."
    assert secret not in done.out + done.err
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)] == [0o600, 0o700]
    assert digests(on) == [digest_of_secret(secret)]
    again = run("init", "--organization", "acme", **on)
    assert "operator" not in again.out
    assert path.read_text().strip() == secret
    run("token", "revoke", "operator", **on)
    other = tmp_path / "elsewhere" / "token"
    document = run("init", "--organization", "acme", "--json", **on, GATEKEEPER_OPERATOR_TOKEN_FILE=str(other)).document
    assert document["operator_token_file"] == str(other)
    assert digests(on) == [digest_of_secret(other.read_text().strip())]


def test_a_place_that_takes_no_token(on: dict[str, str], tmp_path: Path) -> None:
    """Where its file cannot be written, `init` says so in one line, and makes no token."""
    done = run("init", "--organization", "acme", **on, GATEKEEPER_OPERATOR_TOKEN_FILE=str(tmp_path))
    assert "token_file: " in refused(done)
    assert digests(on) == []
