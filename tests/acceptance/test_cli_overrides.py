"""Can an operator let an urgent run through from the command line, and see what it cost?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gatekeeper_client import Client, Denied, Hold
from tests.acceptance.commands import Done, failed, refused, run
from tests.conftest import Server, ServerFactory

WHY = ("--reason", "the launch is today")


@pytest.fixture
def at(server: Server) -> dict[str, str]:
    """Return the environment that names the server and the organization, whose campaign spring has used all it has."""
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    run("cap", "5", "--campaign", "spring", **at)
    assert asked(server, "5", campaign="spring").admitted
    return at


def asked(server: Server, amount: str, **call: Any) -> Hold | Denied:
    """Ask for a hold."""
    with Client(server.address) as client:
        return client.reserve("acme", amount=amount, **call)


def document(done: Done) -> Any:
    """Return what a command printed where it succeeded."""
    assert (done.code, done.err) == (0, "")
    return done.document


def test_an_override_is_turned_on_used_and_turned_off(server: Server, at: dict[str, str]) -> None:
    """The next call passes, the list tells its price and who used it, and after `off` the next call stops again."""
    done = run("override", "on", "10", "--campaign", "spring", "--ttl", "2h", *WHY, **at)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert "for campaign spring is in force: up to 10.00 USD past its caps, until 20" in done.out
    hold = asked(server, "4", campaign="spring", agent="writer")
    assert isinstance(hold, Hold)
    (listed,) = document(run("override", "list", "--json", **at))["overrides"]
    assert hold.override is not None
    assert (hold.override.override_id, hold.override.amount.units) == (listed["override_id"], 4)
    assert listed["uses"][0]["reservation_id"] == hold.reservation_id
    shown = {name: listed[name] for name in ("state", "max_amount", "reserved", "spent", "remaining", "use_count")}
    assert shown == {
        "state": "ACTIVE",
        "max_amount": "10.00",
        "reserved": "4.00",
        "spent": "0.00",
        "remaining": "6.00",
        "use_count": 1,
    }
    with Client(server.address) as client:
        client.commit("acme", hold.reservation_id, amount="3")
    off = run("override", "off", listed["override_id"], **at)
    assert (off.code, off.err) == (0, "")
    assert "is ended. It has cost 3.00 of 10.00 USD." in off.out
    assert not asked(server, "4", campaign="spring").admitted
    assert document(run("override", "list", "--state", "active", "--json", **at))["overrides"] == []


def test_the_list_is_a_table(server: Server, at: dict[str, str]) -> None:
    """Each override with its state, its price, who made it, who used it, and why."""
    assert run("override", "list", **at).out == "There is no such override.\n"
    run("override", "on", "10", "--campaign", "spring", *WHY, **at)
    for _ in range(2):
        asked(server, "1", campaign="spring", agent="writer")
    (row,) = [line for line in run("override", "list", **at).out.splitlines() if "campaign spring" in line]
    for text in ("ACTIVE", "10.00", "2.00", "8.00", "anyone granted", "2 calls: writer", "the launch is today"):
        assert text in row
    run("override", "off", "--campaign", "spring", **at)
    assert "anyone ended" in run("override", "list", "--state", "ENDED", **at).out


def test_overrides_in_force_are_in_the_status(server: Server, at: dict[str, str]) -> None:
    """Beside the budgets, which tell how much of their use overrides have paid for."""
    run("override", "on", "10", "--campaign", "spring", *WHY, **at)
    asked(server, "1", campaign="spring")
    found = document(run("status", "--campaign", "spring", "--json", **at))
    assert [override["remaining"] for override in found["overrides"]] == ["9.00"]
    assert [budget["overridden"] for budget in found["budgets"]] == ["0.00", "1.00"]
    shown = run("status", **at).out
    assert "EXCEEDED, 1.00 by overrides" in shown
    assert "the launch is today" in shown


def test_a_check_tells_what_an_override_would_pay(at: dict[str, str]) -> None:
    """The server decides as it would on the call, and books nothing."""
    run("override", "on", "10", "--campaign", "spring", *WHY, **at)
    done = run("check", "--amount", "4", "--campaign", "spring", **at)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Yes: 4.00 USD can be paid, 4.00 USD of it by an override;")
    (listed,) = document(run("override", "list", "--json", **at))["overrides"]
    assert listed["remaining"] == "10.00"


def test_all_overrides_of_the_same_calls_are_turned_off(at: dict[str, str]) -> None:
    """Without an id, those of exactly these calls end; without any calls, the organization's."""
    for scope in (("--campaign", "spring"), ("--campaign", "spring"), ("--run", "r1"), ()):
        assert run("override", "on", "1", *scope, *WHY, **at).code == 0
    assert len(document(run("override", "off", "--campaign", "spring", "--json", **at))["overrides"]) == 2
    assert "for organization is ended" in run("override", "off", **at).out
    assert run("override", "off", **at).out == "There was no such override to end.\n"
    (left,) = document(run("override", "list", "--state", "active", "--json", **at))["overrides"]
    assert left["scope"] == {"kind": "RUN", "id": "r1"}


def test_a_denied_call_goes_through_once_it_is_approved(server: Server, at: dict[str, str]) -> None:
    """Pause and ask: the denial carries the request, an admin approves less time for it, the same id passes."""
    call = {"campaign": "spring", "reservation_id": "job-1"}
    denied = asked(server, "2", **call, override_request="the mail goes out at noon")
    assert isinstance(denied, Denied)
    assert denied.requested_override is not None
    assert not asked(server, "2", **call).admitted
    (waiting,) = document(run("override", "list", "--state", "pending", "--json", **at))["overrides"]
    assert (waiting["reservation_id"], waiting["reason"]) == ("job-1", "the mail goes out at noon")
    assert waiting["call_scopes"] == [{"kind": "CAMPAIGN", "id": "spring"}]
    assert "reservation job-1 (campaign spring)" in run("override", "list", **at).out
    assert waiting["override_id"] == denied.requested_override.override_id
    approved = document(run("override", "approve", waiting["override_id"], "--ttl", "5m", *WHY, "--json", **at))
    assert approved["state"] == "ACTIVE"
    assert not asked(server, "2", campaign="spring", reservation_id="job-2").admitted
    assert asked(server, "2", **call).admitted


def test_an_override_is_requested_and_declined(server: Server, at: dict[str, str]) -> None:
    """A request waits, and says what an admin has to do; declined, it pays for nothing."""
    done = run("override", "request", "2", "--reservation", "job-1", *WHY, **at)
    assert (done.code, done.err) == (0, "")
    (waiting,) = document(run("override", "list", "--json", **at))["overrides"]
    how = f"waits for an admin: `gatekeeper override approve {waiting['override_id']} --organization acme --reason …`"
    assert how in done.out
    assert run("override", "decline", waiting["override_id"], "--reason", "no", **at).out.endswith("is declined.\n")
    assert not asked(server, "2", campaign="spring", reservation_id="job-1").admitted
    assert "is declined. Make a new one." in failed(
        run("override", "approve", waiting["override_id"], "--reason", "after all", **at)
    )


def test_a_large_override_needs_two_admins(start_server: ServerFactory, database_url: str, tmp_path: Path) -> None:
    """Whoever granted it cannot approve it too; another admin can, and less of it."""
    own = {
        "GATEKEEPER_DATABASE_URL": database_url,
        "GATEKEEPER_OPERATOR_TOKEN_FILE": str(tmp_path / "operator"),
        "GATEKEEPER_ORGANIZATION": "acme",
    }
    assert run("init", **own).code == 0
    server = start_server(
        database_url=database_url, GATEKEEPER_INSECURE="0", GATEKEEPER_OVERRIDE_SECOND_ADMIN_ABOVE="50"
    )
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    ada, grace, writer = (
        at | {"GATEKEEPER_TOKEN": run("token", "create", name, "--role", role, **own).out.strip()}
        for name, role in (("ada", "admin"), ("grace", "admin"), ("writer", "agent"))
    )
    assert "SetOverride takes one of the roles" in failed(run("override", "on", "5", *WHY, **writer))
    done = run("override", "on", "80", *WHY, **ada)
    assert "waits for a second admin" in done.out
    (waiting,) = document(run("override", "list", "--json", **ada))["overrides"]
    assert (waiting["state"], waiting["granted_by"]) == ("PENDING", "ada")
    approval = ("override", "approve", waiting["override_id"], *WHY)
    assert "needs a second admin: another one than 'ada'" in failed(run(*approval, **ada))
    approved = document(run(*approval, "--amount", "60", "--json", **grace))
    assert (approved["state"], approved["max_amount"], approved["approved_by"]) == ("ACTIVE", "60.00", "grace")
    assert "ada granted, grace approved" in run("override", "list", **grace).out


def test_what_the_server_refuses(at: dict[str, str]) -> None:
    """It costs one line: exit code 2 for what is malformed, 1 for what cannot be."""
    assert "reason" in refused(run("override", "on", "5", "--reason", " ", **at))
    assert "max_amount" in refused(run("override", "on", "0", *WHY, **at))
    assert "o-1" in failed(run("override", "off", "o-1", **at))
    assert "no organization 'other'" in failed(run("override", "list", "--organization", "other", **at))
