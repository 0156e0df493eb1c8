"""Can an organization be opened, and its terms and prices be set, from the command line?"""

from __future__ import annotations

import json
import os
import pwd
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gatekeeper_client import Client, Hold
from tests.acceptance.commands import failed, refused, run, unanswered
from tests.conftest import Server


@pytest.fixture
def on(database_url: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment that names the database, the organization, and where the operator's token is put."""
    return {
        "GATEKEEPER_DATABASE_URL": database_url,
        "GATEKEEPER_ORGANIZATION": "acme",
        "GATEKEEPER_DATA_DIR": str(tmp_path / "data"),
    }


def changes(on: dict[str, str]) -> list[tuple[str, Any, Any]]:
    """Return what the audit trail says of the organization: the action, and what was before and after."""
    statement = "SELECT action, before, after FROM audit_events WHERE organization = 'acme' ORDER BY event_id"
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        found = connection.execute(statement).fetchall()
    return [(action, before and json.loads(before), after and json.loads(after)) for action, before, after in found]


@pytest.fixture
def at(server: Server, on: dict[str, str]) -> dict[str, str]:
    """Return the environment that names the server besides."""
    return on | {"BILLING_API_URL": server.address}


def spend(server: Server, **call: str) -> None:
    """Make a call that costs 1."""
    with Client(server.address) as client:
        hold = client.reserve("acme", amount=1, **call)  # type: ignore[arg-type]
        assert isinstance(hold, Hold)
        hold.commit(amount=1)


def test_opening(on: dict[str, str]) -> None:
    """`init` opens an organization on the terms that are given, and the defaults for the rest."""
    assert run("init", "--json", **on).document == {
        "organization": "acme",
        "is_new": True,
        "monthly_budget": "1000.00",
        "currency": "USD",
        "time_zone": "UTC",
        "expiry_policy": "RELEASE",
        "known_scopes": False,
        "price_version": "",
        "operator_token_file": f"{on['GATEKEEPER_DATA_DIR']}/operator.token",
    }
    other = run("init", "--organization", "other", "--json", **on, MAX_MONTHLY_BUDGET="7").document
    assert other["monthly_budget"] == "7.00"


def test_all_terms(on: dict[str, str]) -> None:
    """Every term can be set; the same again, or nothing, changes nothing."""
    terms = (
        "--monthly-budget", "5000", "--currency", "EUR", "--time-zone", "Europe/Berlin", "--expiry-policy", "charge",
        "--known-scopes",
    )  # fmt: skip
    first = run("init", *terms, "--json", **on).document
    assert first == {
        "organization": "acme",
        "is_new": True,
        "monthly_budget": "5000.00",
        "currency": "EUR",
        "time_zone": "Europe/Berlin",
        "expiry_policy": "CHARGE",
        "known_scopes": True,
        "price_version": "",
        "operator_token_file": f"{on['GATEKEEPER_DATA_DIR']}/operator.token",
    }
    again = first | {"is_new": False, "operator_token_file": None}
    assert run("init", *terms, "--json", **on).document == again
    assert run("init", "--json", **on).document == again
    changed = run("init", "--no-known-scopes", "--expiry-policy", "RELEASE", **on).out
    assert "5000.00 EUR" in changed
    assert "expiry policy   release" in changed
    assert "scopes          any" in changed


def test_terms_are_written_down(on: dict[str, str]) -> None:
    """What was opened or changed is in the audit trail, with who did it; what changes nothing is not."""
    for arguments in (("--time-zone", "Europe/Berlin"), (), ("--known-scopes",), ("--monthly-budget", "7"), ()):
        assert run("init", *arguments, **on).code == 0
    opened = {"currency": "USD", "time_zone": "Europe/Berlin", "expiry_policy": "RELEASE", "known_scopes": "false"}
    budget = {"cap": "1000.00", "enforcement": "ENFORCE", "thresholds": "80, 95, 100", "frozen": "false"}
    budget |= {"floor_normal": "100", "floor_batch": "100"}
    assert changes(on) == [
        ("ORGANIZATION_OPENED", None, opened | {"monthly_budget": "1000.00"}),
        ("POLICY_CHANGED", opened, opened | {"known_scopes": "true"}),
        ("BUDGET_SET", budget | {"revision": "1"}, budget | {"cap": "7.00", "revision": "2"}),
    ]
    who = (pwd.getpwuid(os.getuid()).pw_name, "OPERATOR", f"command line on {socket.gethostname()}", "gatekeeper init")
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        statement = "SELECT DISTINCT actor, actor_role, peer, reason FROM audit_events WHERE organization = 'acme'"
        assert connection.execute(statement).fetchall() == [who]


def test_the_server_goes_by_it(server: Server, at: dict[str, str]) -> None:
    """A server that runs meanwhile goes by the new terms at once."""
    spend(server)
    run("init", "--monthly-budget", "2.50", "--known-scopes", **at)
    status = run("status", "--json", **at).document["budgets"][0]
    assert (status["cap"], status["spent"], status["available"]) == ("2.50", "1.00", "1.50")
    assert "demands known scopes" in unanswered(run("check", "--amount", "1", "--campaign", "misspelt", **at))


def test_currency_stays_once_money_is_kept(server: Server, at: dict[str, str]) -> None:
    """The currency can change until the first reservation, and not after it."""
    run("init", "--currency", "EUR", **at)
    assert run("init", "--currency", "CHF", "--json", **at).document["currency"] == "CHF"
    spend(server)
    assert "keeps its books in CHF, not in EUR" in failed(run("init", "--currency", "EUR", **at))
    assert run("init", "--currency", "CHF", "--json", **at).code == 0


NO_TERMS = (
    (("--currency", "euro"), "currency"),
    (("--time-zone", "Europe/Berln"), "Europe/Berlin"),
    (("--time-zone", "../../etc/passwd"), "time_zone"),
    (("--organization", " acme"), "organization"),
    (("--organization", "a\nb"), "organization"),
    (("--organization", "x" * 129), "organization"),
    (("--organization", ""), "organization"),
)


def test_terms_that_cannot_be(on: dict[str, str]) -> None:
    """Terms that make no sense are refused in one line, and nothing is written."""
    for arguments, expected in NO_TERMS:
        assert expected in refused(run("init", *arguments, **on))
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        assert connection.execute("SELECT count(*) FROM organizations").fetchone() == (0,)


def zone_of_yesterday() -> tuple[str, str]:
    """Return two time zones of which the second still has the day before that of the first."""
    hour = datetime.now(UTC).hour
    return ("UTC", "Etc/GMT+12") if hour < 11 else ("Etc/GMT-14", "UTC")


def test_turning_the_calendar_back(server: Server, at: dict[str, str]) -> None:
    """A budget that was set tomorrow, by the calendar of before, counts today's calls (the books verify)."""
    today, yesterday = zone_of_yesterday()
    run("init", "--time-zone", yesterday, **at)
    spend(server, campaign="spring", agent="writer")
    run("cap", "9", "--campaign", "spring", "--window", "day", **at)
    run("init", "--time-zone", today, **at)
    run("cap", "0.50", "--campaign", "spring", "--window", "day", **at)
    run("cap", "5", "--agent", "writer", "--window", "day", **at)
    assert run("init", "--time-zone", yesterday, **at).code == 0
    found = run("status", "--json", **at).document["budgets"]
    assert [(b["scope"]["id"], b["cap"], b["spent"]) for b in found if b["window"] == "DAY"] == [
        ("spring", "0.50", "1.00"),
        ("writer", "5.00", "1.00"),
    ]
    spend(server, agent="writer")
    assert run("verify", **at).out.startswith("PASS")


def test_not_behind_calls(server: Server, at: dict[str, str]) -> None:
    """The calendar is not turned back behind calls that were made already."""
    today, yesterday = zone_of_yesterday()
    run("init", "--time-zone", today, **at)
    spend(server)
    assert "turn the calendar back" in refused(run("init", "--time-zone", yesterday, **at))


def test_prices_of_everyone(on: dict[str, str]) -> None:
    """`price list` shows everyone's prices, by the beginning of a model's name or by what a name means."""
    del on["GATEKEEPER_ORGANIZATION"]
    listed = run("price", "list", "--model", "claude-sonnet-4", **on)
    assert listed.code == 0
    assert "anthropic/claude-sonnet-4-5" in listed.out
    assert "USD per million tokens" in listed.out
    dated = run(
        "price",
        "list",
        "--model",
        "claude-3-haiku-20240307-v1",
        "--json",
        GATEKEEPER_DATABASE_URL=on["GATEKEEPER_DATABASE_URL"],
    )
    assert dated.document["models"]
    everything = run("price", "list", "--json", GATEKEEPER_DATABASE_URL=on["GATEKEEPER_DATABASE_URL"]).document
    assert len(everything["models"]) > 300
    assert {"seo": "0.03", "*": "0.04"}.items() <= {
        entry["agent_type"]: entry["per_1000_tokens"] for entry in everything["agent_types"]
    }.items()


def test_a_price_of_its_own(at: dict[str, str]) -> None:
    """A price that an organization sets comes before everyone's, at once, in a new version of its own book."""
    run("init", **at)
    call = ("check", "--model", "my-own", "--input-tokens", "1000000", "--max-output-tokens", "1000000", "--json")
    assert run(*call, **at).document["reason"] == "UNPRICED_MODEL"
    done = run("price", "set", "--model", "My-Own", "--input", "3", "--output", "15.5", **at)
    assert done.out == "acme prices My-Own from now on, by its book acme-1.\n"
    assert run(*call, **at).document["amount"] == "18.50"
    rates = ("--input", "1", "--output", "0", "--cached-input", ".1", "--cache-write-input", "1.25")
    assert run("price", "set", "--model", "my-own", *rates, "--json", **at).document["version"] == "acme-2"
    assert run(*call, "--cached-input-tokens", "1000000", **at).document["amount"] == "0.10"
    [listed] = run("price", "list", "--model", "my-own", "--json", **at).document["models"]
    assert listed == {
        "model": "my-own",
        "from": None,
        "input": "1",
        "cached_input": "0.1",
        "cache_write_input": "1.25",
        "output": "0",
        "call": None,
        "book": "acme-2",
    }


def test_an_agent_type_of_its_own(at: dict[str, str]) -> None:
    """The price of an agent type can be set, and that of all others by an asterisk."""
    run("init", **at)
    run("price", "set", "--agent-type", "SEO", "--per-1000-tokens", "0.05", **at)
    call = ("check", "--input-tokens", "1000", "--json")
    assert run(*call, "--agent-type", "seo", **at).document["amount"] == "0.05"
    assert run(*call, "--agent-type", "email", **at).document["amount"] == "0.05"
    run("price", "set", "--agent-type", "*", "--per-1000-tokens", "1", **at)
    assert run(*call, "--agent-type", "email", **at).document["amount"] == "1.00"
    assert "1,000 tokens" in run("price", "list", **at).out


def test_a_price_to_come(at: dict[str, str]) -> None:
    """A price can begin on a day to come; until then, what was in force stays, everyone's price too."""
    run("init", **at)
    day = (datetime.now(UTC) + timedelta(days=2)).date()
    later = ("--input", "100", "--output", "100", "--from", f"{day}")
    call = ("check", "--input-tokens", "1000000", "--json", "--model")
    run("price", "set", "--model", "claude-sonnet-4-5", *later, **at)
    assert run(*call, "claude-sonnet-4-5", **at).document["amount"] != "100.00"
    run("price", "set", "--model", "mine", *later, **at)
    assert run(*call, "mine", **at).document["reason"] == "UNPRICED_MODEL"
    run("price", "set", "--model", "mine", "--input", "1", "--output", "1", **at)
    assert run(*call, "mine", **at).document["amount"] == "1.00"
    listed = run("price", "list", "--model", "mine", "--json", **at).document["models"]
    assert [(entry["from"], entry["input"]) for entry in listed] == [(None, "1"), (f"{day}", "100")]


def test_prices_are_written_down(on: dict[str, str]) -> None:
    """Who set a price, what it was, if it was the organization's own, what it is, and why, is in the audit trail."""
    run("init", **on)
    prices = (
        ("--model", "Mine", "--input", "3", "--output", "15.5"),
        ("--model", "mine", "--input", "1", "--output", "0", "--cached-input", ".1", "--from", "2999-01-01"),
        ("--agent-type", "SEO", "--per-1000-tokens", "0.05"),
        ("--agent-type", "seo", "--per-1000-tokens", "1"),
    )
    for arguments in prices:
        assert run("price", "set", *arguments, "--reason", "talks", **on).code == 0
    rates = dict.fromkeys(("input", "output", "cached_input", "cache_write_input", "call", "from"))
    first = rates | {"input": "3", "output": "15.5", "book": "acme-1"}
    later = rates | {"input": "1", "output": "0", "cached_input": "0.1", "from": "2999-01-01", "book": "acme-2"}
    assert [change for change in changes(on) if change[0] == "PRICE_SET"] == [
        ("PRICE_SET", None, first),
        ("PRICE_SET", first, later),
        ("PRICE_SET", None, {"per_1000_tokens": "0.05", "book": "acme-3"}),
        ("PRICE_SET", {"per_1000_tokens": "0.05", "book": "acme-3"}, {"per_1000_tokens": "1", "book": "acme-4"}),
    ]
    with psycopg.connect(on["GATEKEEPER_DATABASE_URL"]) as connection:
        found = connection.execute("SELECT subject, reason FROM audit_events WHERE action = 'PRICE_SET'").fetchall()
    assert {*found} == {("price of model 'mine'", "talks"), ("price of agent type 'seo'", "talks")}


NO_PRICES = (
    (("--model", "m", "--input", "100000", "--output", "1"), "not a rate"),
    (("--model", "m" * 129, "--input", "1", "--output", "1"), "model"),
    (("--model", "m", "--input", "1", "--output", "1", "--from", "2020-01-01"), "past"),
    (("--agent-type", "seo", "--per-1000-tokens", "100"), "not a rate"),
)


def test_prices_that_cannot_be(on: dict[str, str]) -> None:
    """A price that is a mistake is refused in one line, and no book is made."""
    run("init", **on)
    for arguments, expected in NO_PRICES:
        assert expected in refused(run("price", "set", *arguments, **on))
    assert run("init", "--json", **on).document["price_version"] == ""


def test_prices_of_nobody(on: dict[str, str]) -> None:
    """Only an organization that is open has prices."""
    rates = ("--model", "m", "--input", "1", "--output", "1")
    assert "no organization 'acme'" in failed(run("price", "set", *rates, **on))
    assert "no organization 'acme'" in failed(run("price", "list", **on))
