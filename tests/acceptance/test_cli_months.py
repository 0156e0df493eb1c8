"""Can an operator read a month from the command line?"""

from __future__ import annotations

import csv
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest

from gatekeeper_client import Client
from tests.acceptance.commands import failed, refused, run
from tests.conftest import Server

RULES = '[[rules]]\nlabel = "pool"\nmodel = "weighted"\nshares = { "=spring" = 1, autumn = 2 }\n'
BROKEN = {
    "no": "is no TOML",
    "other = 1": "[[rules]] tables, and nothing else",
    "rules = [1]": "rules[0] is no table",
    '[[rules]]\nlabel = "l"\nmodel = "odd"': "rules[0].model is 'odd'; write one of even, weighted, proportional",
    '[[rules]]\nlabel = "l"\nmodel = "even"\nshares = 3': "rules[0].shares must be names",
    '[[rules]]\nlabel = "l"\nmodel = "even"\nshares = ["a"]\nshare = 1': "rules[0] has 'share', which no rule has",
    '[[rules]]\nlabel = 3\nmodel = "even"\nshares = ["a"]': "rules[0].label must be a text",
}


@pytest.fixture
def at(server: Server) -> dict[str, str]:
    """Return the environment that names a server on which something was spent this month."""
    at = {"BILLING_API_URL": server.address, "GATEKEEPER_ORGANIZATION": "acme"}
    assert run("cap", "100", **at).code == 0
    assert run("cap", "50", "--campaign", "=spring", **at).code == 0
    with Client(server.address) as client:
        for campaign, cost in (("=spring", "1.50"), ("autumn", "1.00")):
            client.reserve("acme", amount="2.00", campaign=campaign).commit(amount=cost)  # type: ignore[union-attr]
        client.reserve("acme", amount="2.00", labels={"pool": "x"}).commit(amount="0.30")  # type: ignore[union-attr]
    return at


def test_a_month_is_told(at: dict[str, str], tmp_path: Path) -> None:
    """Statement, split and report have one total; what is written to a file is what is printed, or nothing."""
    told = run("statement", "--json", **at).document
    period = told["period"]
    assert (told["opening_balance"], told["closing_balance"], told["commits"]["amount"]) == ("100.00", "97.20", "-2.80")
    spring = run("statement", period, "--campaign", "=spring", **at)
    assert f"campaign =spring, {period}, under a cap of 50.00 USD:" in spring.out
    assert [line.split()[-1] for line in spring.out.splitlines() if line.strip().startswith("Left")] == ["48.50"]
    assert "give one of --department, --campaign" in refused(run("statement", "--run", "r", "--agent", "a", **at))
    assert "has no monthly budget of run 'r'" in failed(run("statement", "--run", "r", **at))

    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    split = run("split", "--rules", str(rules), "--json", **at).document
    assert [(e["id"], e["own"], e["shared"], e["cost"]) for e in split["entries"]] == [
        ("=spring", "1.50", "0.10", "1.60"),
        ("autumn", "1.00", "0.20", "1.20"),
    ]
    assert split["cost"] == "2.80"
    rows = list(csv.reader(StringIO(run("split", period, "--rules", str(rules), "--csv", **at).out)))
    assert rows[:2] == [["campaign", "own", "shared", "cost", "currency"], ["'=spring", "1.50", "0.10", "1.60", "USD"]]
    assert sum(Decimal(row[3]) for row in rows[1:]) == Decimal("2.80")
    assert "all" in run("split", "--rules", str(rules), "--by", "department", **at).out

    report = tmp_path / "report.md"
    written = run("report", period, "--output", str(report), "--json", **at).document
    assert (written["markdown"], written["recommendations"]) == (report.read_text(), [])
    assert "| Cost | 2.80 |" in report.read_text()
    assert "`=spring`" in report.read_text()
    assert run("report", **at).out.startswith("# Spend in ")
    missing = tmp_path / "missing" / "report.md"
    assert f"cannot write {missing}: No such file or directory" in failed(run("report", "--output", str(missing), **at))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert "9999-12 has not begun" in failed(run("report", "9999-12", **at))


def test_rules_that_cannot_be_read(tmp_path: Path) -> None:
    """Each is told by where it is and what it takes, before anybody is asked."""
    rules = tmp_path / "rules.toml"
    for text, told in BROKEN.items():
        rules.write_text(text)
        assert told in refused(run("split", "--rules", str(rules), GATEKEEPER_ORGANIZATION="acme"))
    rules.unlink()
    assert "No such file" in refused(run("split", "--rules", str(rules), GATEKEEPER_ORGANIZATION="acme"))
