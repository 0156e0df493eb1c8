"""Can budgets be shown, asked and set from the command line?"""

from __future__ import annotations

from pathlib import Path

import pytest

from gatekeeper_client import Client, Hold
from tests.acceptance.commands import Done, failed, refused, run, unanswered
from tests.conftest import Server, ServerFactory


@pytest.fixture
def at(server: Server) -> dict[str, str]:
    """Return the environment that names the server and the organization."""
    return {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}


def held(server: Server, amount: str, **scopes: str) -> Hold:
    """Hold an amount, and leave it held."""
    with Client(server.address) as client:
        hold = client.reserve("acme", amount=amount, **scopes)  # type: ignore[arg-type]
    assert isinstance(hold, Hold)
    return hold


def document(done: Done) -> dict[str, object]:
    """Return what a command printed where it succeeded."""
    assert (done.code, done.err) == (0, "")
    found: dict[str, object] = done.document
    return found


def test_budgets_are_shown(server: Server, at: dict[str, str]) -> None:
    """`status` shows each budget with its standing; `--json` gives amounts as strings, to the last nano."""
    run("cap", "10.000000001", "--campaign", "spring", "--window", "day", "--floor", "batch=90", **at)
    run("cap", "1", "--agent", "writer", "--enforcement", "shadow", **at)
    held(server, "9.6", campaign="spring", agent="writer")
    shown = run("status", **at)
    assert shown.code == 0
    assert "acme can spend, amounts in USD" in shown.out
    for text in ("campaign spring, day", "10.000000001", "0.400000001", "96.0 %", "███████████░", "CRITICAL"):
        assert text in shown.out
    assert "EXCEEDED, SHADOW (1 would be denied)" in shown.out
    assert "CRITICAL, BATCH stops at 90 %" in shown.out
    found = run("status", "--json", **at).document
    assert found["can_execute"] is True
    assert [budget["scope"]["kind"] for budget in found["budgets"]] == ["ORGANIZATION", "CAMPAIGN", "AGENT"]
    assert found["budgets"][1] | {"period": "today"} == {
        "scope": {"kind": "CAMPAIGN", "id": "spring"},
        "window": "DAY",
        "period": "today",
        "currency": "USD",
        "cap": "10.000000001",
        "spent": "0.00",
        "reserved": "9.60",
        "available": "0.400000001",
        "overridden": "0.00",
        "utilization_percent": pytest.approx(95.99999999, abs=1e-6),
        "tier": "CRITICAL",
        "enforcement": "ENFORCE",
        "frozen": False,
        "would_deny_count": 0,
        "floors": {"BATCH": 90},
    }
    assert found["overrides"] == []


def test_only_some_budgets(at: dict[str, str]) -> None:
    """Scopes can be named, several of a kind; the organization is always shown, and decides with them."""
    for campaign in ("a", "b", "c"):
        run("cap", "1", "--campaign", campaign, **at)
    run("cap", "--campaign", "a", "--freeze", **at)
    found = run("status", "--campaign", "a", "--campaign", "b", "--json", **at).document
    assert [budget["scope"]["id"] for budget in found["budgets"]] == ["", "a", "b"]
    assert found["can_execute"] is False
    assert "cannot spend" in run("status", "--campaign", "a", **at).out


def test_another_period(at: dict[str, str]) -> None:
    """A past period shows what was capped then: nothing here."""
    run("cap", "1", **at)
    assert run("status", "--period", "1999-12", "--json", **at).document["budgets"] == []
    assert "No budget" in run("status", "--period", "1999-12", **at).out
    assert "period" in refused(run("status", "--period", "1999-13", **at))


def test_names_are_shown_as_they_are(at: dict[str, str]) -> None:
    """What looks like markup in a name is a name."""
    run("cap", "1", "--campaign", "[red]:smile:[/]", **at)
    assert "campaign [red]:smile:[/], month" in run("status", **at).out


def test_unknown_organization(at: dict[str, str]) -> None:
    """An organization that nobody opened is a failure of one line."""
    assert "no organization 'acme'" in failed(run("status", **at))
    assert "no organization 'acme'" in unanswered(run("check", **at))


def test_no_server_is_no_breach(at: dict[str, str]) -> None:
    """Where none answers, a check's exit code is neither that of a breach nor that of wrong usage."""
    nowhere = at | {"BILLING_API_URL": "127.0.0.1:1"}
    for arguments in ((), ("--amount", "1"), ("--campaign", "spring")):
        assert "no server answers at 127.0.0.1:1" in unanswered(run("check", *arguments, **nowhere))


def test_a_call_that_can_be_paid(server: Server, at: dict[str, str]) -> None:
    """`check` exits with 0 where a call can be paid, says what is left, and holds nothing."""
    run("cap", "5", "--campaign", "spring", **at)
    done = run("check", "--amount", "0.10", "--campaign", "spring", **at)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Yes: 0.10 USD can be paid; 5.00 USD left in campaign spring, month ")
    with Client(server.address) as client:
        assert list(client.list_reservations("acme")) == []


def test_a_call_that_cannot_be_paid(server: Server, at: dict[str, str]) -> None:
    """`check` exits with 1 where a budget has no room, and explains which and how much it lacks."""
    run("cap", "5", "--campaign", "spring", **at)
    held(server, "3", campaign="spring")
    done = run("check", "--amount", "2.000000001", "--campaign", "spring", **at)
    assert (done.code, done.err) == (1, "")
    assert "3.00 held of 5.00 USD; 2.000000001 asked, 0.000000001 too much. Try again later." in done.out
    found = run("check", "--amount", "2.000000001", "--campaign", "spring", "--json", **at).document
    assert (found["admitted"], found["reason"], found["shortfall"]) == (False, "HEADROOM_HELD", "0.000000001")
    assert found["headroom_time"] is not None
    assert run("check", "--amount", "2", "--campaign", "spring", **at).code == 0


def test_a_priority_that_stops_at_a_floor(server: Server, at: dict[str, str]) -> None:
    """`check` asks with the call's priority; a denial names the floor that the priority stops at."""
    run("cap", "10", "--floor", "batch=90", "--floor", "normal=97", **at)
    held(server, "9.5", priority="CRITICAL")
    found = run("check", "--amount", "0.10", "--priority", "batch", "--json", **at)
    assert (found.code, found.document["floor_percent"]) == (1, 90)
    assert "may use 90 % of it" in found.document["message"]
    assert run("check", "--amount", "0.20", **at).code == 0
    assert run("check", "--amount", "0.50", **at).code == 1
    assert run("check", "--amount", "0.50", "--priority", "CRITICAL", **at).code == 0


def test_nothing_is_wrong(at: dict[str, str]) -> None:
    """Without an amount, `check` looks at every budget, and says what the tightest leaves."""
    run("cap", "5", "--campaign", "spring", **at)
    run("cap", "50", **at)
    done = run("check", **at)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("OK: nothing is wrong with 2 budgets of acme; 5.00 USD left in campaign spring, month ")
    found = document(run("check", "--json", **at))
    assert found | {"message": ""} == {
        "organization": "acme",
        "ok": True,
        "message": "",
        "at": "EXCEEDED",
        "budget_count": 2,
        "alerts_checked": True,
        "breaches": [],
    }


def test_a_budget_that_is_used_up(server: Server, at: dict[str, str]) -> None:
    """It is a breach by itself, and among its own scope's budgets, but not when another scope is asked about."""
    run("cap", "5", "--campaign", "spring", **at)
    held(server, "5", campaign="spring")
    for arguments in ((), ("--campaign", "spring")):
        done = run("check", *arguments, **at)
        assert (done.code, done.err, done.out.count("\n")) == (1, "", 1)
        assert "is used up: 0.00 spent and 5.00 held of 5.00 USD." in done.out
    assert run("check", "--campaign", "summer", **at).code == 0
    (breach,) = run("check", "--json", **at).document["breaches"]
    assert (breach["kind"], breach["budget"]["scope"]["id"]) == ("TIER", "spring")


def test_a_tier_that_counts_as_a_breach(server: Server, at: dict[str, str]) -> None:
    """`--at` says how full a budget may be; one that is not enforced counts as well, and says so."""
    run("cap", "10", "--campaign", "spring", "--enforcement", "warn", **at)
    held(server, "9.6", campaign="spring")
    assert [run("check", "--at", tier, **at).code for tier in ("warning", "critical", "exceeded")] == [1, 1, 0]
    text = run("check", "--at", "CRITICAL", **at).out
    assert "stands at 96.0 %: 0.00 spent and 9.60 held of 10.00 USD (WARN: calls go on)." in text


def test_a_budget_that_is_frozen(at: dict[str, str]) -> None:
    """Whatever is left in it."""
    run("cap", "5", "--campaign", "spring", **at)
    run("cap", "--freeze", **at)
    done = run("check", "--json", **at)
    (breach,) = done.document["breaches"]
    assert (done.code, done.document["ok"], breach["kind"]) == (1, False, "FROZEN")
    assert breach["message"].endswith(" is frozen.")
    assert "is frozen" in run("check", "--campaign", "spring", **at).out


def test_whoever_may_not_list_checks_what_it_sees(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """An agent is told of the budgets in its status, and that alerts were not looked at."""
    own = {
        "GATEKEEPER_DATABASE_URL": database_url,
        "GATEKEEPER_OPERATOR_TOKEN_FILE": str(tmp_path / "operator"),
        "GATEKEEPER_ORGANIZATION": "acme",
    }
    assert run("init", "--monthly-budget", "5", **own).code == 0
    token = run("token", "create", "writer", "--role", "agent", **own).out.strip()
    address = start_server(database_url=database_url, GATEKEEPER_INSECURE="0").address
    agent = {"BILLING_API_URL": address, "GATEKEEPER_ORGANIZATION": "acme", "GATEKEEPER_TOKEN": token}
    found = document(run("check", "--json", **agent))
    assert (found["ok"], found["budget_count"], found["alerts_checked"]) == (True, 1, False)
    assert run("status", "--json", **agent).document["budgets"][0]["floors"] == {}


def test_tokens_are_priced(at: dict[str, str]) -> None:
    """Tokens are priced by their model or by the agent type; a model without a price is never free."""
    model = ("--model", "claude-sonnet-4-5", "--input-tokens", "1000", "--max-output-tokens", "1000")
    assert document(run("check", *model, "--json", **at))["amount"] == "0.018"
    typed = ("--agent-type", "seo", "--input-tokens", "500", "--max-output-tokens", "500")
    assert document(run("check", *typed, "--json", **at))["amount"] == "0.03"
    unknown = run("check", "--model", "my-own", "--input-tokens", "0", "--json", **at)
    assert (unknown.code, unknown.document["reason"]) == (1, "UNPRICED_MODEL")


def test_a_cap_is_set(at: dict[str, str]) -> None:
    """`cap` sets what is given, keeps the rest, and shows what stands."""
    first = document(
        run(
            "cap",
            "5",
            "--run",
            "r1",
            "--window",
            "total",
            "--enforcement",
            "WARN",
            "--threshold",
            "50",
            "--threshold",
            "90",
            "--reason",
            "a trial",
            "--json",
            **at,
        )
    )
    assert (first["scope"], first["window"], first["cap"]) == ({"kind": "RUN", "id": "r1"}, "TOTAL", "5.00")
    assert (first["enforcement"], first["thresholds"], first["reason"]) == ("WARN", [50, 90], "a trial")
    assert first["floors"] == {}
    floors = ("--floor", "BATCH=90", "--floor", "normal=97")
    done = run("cap", "--run", "r1", "--window", "total", "--freeze", "--etag", str(first["etag"]), *floors, **at)
    assert (
        "acme, run r1: 5.00 USD in total, WARN, alerts at 50, 90 %, "
        "NORMAL stops at 97 %, BATCH stops at 90 %, FROZEN, etag 2." in done.out
    )
    assert "has changed" in failed(run("cap", "6", "--run", "r1", "--window", "total", "--etag", "1", **at))
    assert document(run("cap", "--run", "r1", "--window", "total", "--thaw", "--json", **at))["frozen"] is False


def test_a_cap_that_cannot_be(at: dict[str, str]) -> None:
    """What the server refuses costs one line and exit code 2."""
    assert "thresholds" in refused(run("cap", "5", "--threshold", "90", "--threshold", "80", **at))
    assert "cap" in refused(run("cap", "--campaign", "new", "--freeze", **at))
    assert "scope" in refused(run("cap", "5", "--campaign", " blank ", **at))
    assert "floors" in refused(run("cap", "5", "--floor", "batch=90", "--floor", "normal=80", **at))
