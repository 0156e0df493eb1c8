"""Can somebody see from the command line what money went for, and take it away?"""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

from gatekeeper_client import Client, Hold
from tests.acceptance.commands import Done, failed, run
from tests.conftest import Server

# What a spreadsheet would run.
FORMULA = "=cmd|'/c calc'!A1"


def rows_of(done: Done) -> list[dict[str, str]]:
    """Return the rows of a CSV that a command printed."""
    assert (done.code, done.err) == (0, "")
    return list(csv.DictReader(io.StringIO(done.out)))


def spend(client: Client, amount: str, **call: Any) -> None:
    hold = client.reserve("acme", amount="1", **call)
    assert isinstance(hold, Hold)
    hold.commit(amount=amount, outcome="FAILED" if "bad" in call.get("agent", "") else "SUCCEEDED")


def test_spend(server: Server) -> None:
    """Tables, CSV and JSON say the same of a month, and what it is made of adds up to it."""
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    assert run("cap", "100", **at).code == 0
    assert "Nothing was spent." in run("spend", "campaigns", **at).out
    assert "No executions." in run("spend", "executions", **at).out
    with Client(server.address) as client:
        spend(client, "0.50", campaign="spring", department="sales", agent="writer", agent_type="seo")
        spend(client, "0.125000001", campaign=FORMULA, agent="bad")
        spend(client, "0.25")
    total = Decimal("0.875000001")
    month = run("spend", "summary", "--json", **at).document
    assert (month["spend"]["cost"], month["budget"]["spent"]) == ("0.875000001", "0.875000001")
    assert sum(Decimal(day["cost"]) for day in month["days"]) == total
    shown = run("spend", "summary", month["period"], **at).out
    assert "0.875000001" in shown
    assert "3, 0 more denied" in shown
    days = rows_of(run("spend", "summary", "--csv", **at))
    assert sum(Decimal(row["cost"]) for row in days) == total
    for noun in ("campaigns", "departments", "agents", "models"):
        rows = rows_of(run("spend", noun, "--csv", **at))
        listed = run("spend", noun, "--json", "--as-of", month["read_time"], **at).document[noun]
        assert sum(Decimal(row["cost"]) for row in rows) == sum(Decimal(each["cost"]) for each in listed) == total
        assert "0.875000001" in run("spend", noun, **at).out or len(rows) > 1
    assert [row["campaign"] for row in rows_of(run("spend", "campaigns", "--csv", **at))] == [
        "spring",
        "",
        f"'{FORMULA}",
    ]
    entries = rows_of(run("spend", "executions", "--csv", **at))
    assert sum(Decimal(row["cost"]) for row in entries) == total
    assert entries[1]["campaign"] == f"'{FORMULA}"
    (bad,) = run("spend", "executions", "--outcome", "failed", "--json", **at).document["executions"]
    assert bad["late"] is False
    assert (bad["agent"], bad["cost"], bad["reserved_amount"]) == ("bad", "0.125000001", "1.00")
    assert "(none)" in run("spend", "campaigns", **at).out
    assert "And 2 more" in run("spend", "campaigns", "--limit", "1", **at).out
    assert len(rows_of(run("spend", "campaigns", "--csv", "--limit", "1", **at))) == 1


def test_what_cannot_be_told(server: Server) -> None:
    """A month that has not begun is told so; two formats at once and a month that is none are bad usage."""
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    assert run("cap", "100", **at).code == 0
    done = run("spend", "summary", "2999-01", **at)
    assert (done.code, done.out) == (1, "")
    assert "2999-01 has not begun" in done.err
    assert run("spend", "summary", "--json", "--csv", **at).code == 2
    assert run("spend", "summary", "2026-13", **at).code == 2
    assert "no organization 'nobody'" in failed(run("spend", "executions", "--csv", "--organization", "nobody", **at))
