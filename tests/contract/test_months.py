"""What is told of a month as a whole? Statements, split costs and the monthly report agree with the books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2, reservation_pb2, spend_pb2
from gatekeeper_client.v1 import report_service_pb2 as pb

from .conftest import Clock
from .refusals import refusal
from .wire import ORGANIZATION, TIMEOUT_S, campaign, run

HOSTILE = "<img src=x> | [a](http://x) `b`"
LINES = ("holds", "releases", "expiries", "settled_holds", "commits", "overage", "override_use")
EVEN, PROPORTIONAL = spend_pb2.SPLIT_MODEL_EVEN, spend_pb2.SPLIT_MODEL_PROPORTIONAL


@pytest.fixture
def spent(clock: Clock, organization: str) -> Iterator[str]:
    """Return an organization with a November, seen from December: what was held, how it ended, what it cost."""
    wire = clock.wire
    clock.set("11-10T12:00:00+00:00")
    wire.open(organization)
    wire.cap(organization, "50", campaign("spring"))
    shared = {"labels": {"pool": "search"}}
    for amount, cost, where in (
        ("2.00", "1.50", {"campaign": "spring", "agent": "a", "agent_type": "writer", "run": "r-1"}),
        ("1.00", "3.000000001", {"campaign": "spring", "agent": "a", "agent_type": "writer"}),
        ("5.00", "0.50", {"campaign": HOSTILE, "department": "sales"}),
        ("4.00", "1.00", {"campaign": "spring", "department": "sales", **shared}),
        ("4.00", "0.000000001", {"labels": {"pool": "other"}}),
    ):
        wire.commit(wire.hold(organization, amount, **where), cost, outcome=reservation_pb2.OUTCOME_SUCCEEDED)
        clock.advance(timedelta(days=1))
    wire.release(wire.hold(organization, "7.00", campaign="spring"))
    wire.hold(organization, "6.00", campaign="spring", ttl={"seconds": 60})
    wire.deny(organization, "60.00", campaign="spring")
    clock.advance(timedelta(minutes=2))
    clock.swept()
    wire.cap(organization, "5", run("r-1"))
    clock.set("12-02T12:00:00+00:00")
    wire.hold(organization, "8.00", campaign="spring")
    yield organization
    clock.advance(timedelta(days=1))


def statement(clock: Clock, organization: str, **fields: Any) -> spend_pb2.Statement:
    request = pb.GetStatementRequest(organization=organization, **fields)
    return clock.wire.reports.GetStatement(request, timeout=TIMEOUT_S).statement


def told(found: spend_pb2.Statement) -> dict[str, tuple[Decimal, int]]:
    return {name: (from_money(getattr(found, name).amount), getattr(found, name).count) for name in LINES}


def test_a_statement_is_the_books(clock: Clock, spent: str) -> None:
    """What moved a budget leads from its cap to what is left; the month after begins anew."""
    november = f"{clock.year}-11"
    found = statement(clock, spent, scope=campaign("spring"), period=november)
    assert told(found) == {
        "holds": (Decimal("-20.00"), 5),
        "releases": (Decimal("7.00"), 1),
        "expiries": (Decimal("6.00"), 1),
        "settled_holds": (Decimal("7.00"), 3),
        "commits": (Decimal("-5.500000001"), 3),
        "overage": (Decimal("-2.000000001"), 1),
        "override_use": (Decimal(0), 0),
    }
    assert (from_money(found.opening_balance), from_money(found.closing_balance)) == (50, Decimal("44.499999999"))
    assert (found.organization, found.scope, found.period) == (spent, campaign("spring"), november)
    standing = clock.wire.budget(spent, ORGANIZATION, november)
    whole = statement(clock, spent, period=november)
    left = from_money(standing.cap) - from_money(standing.spent) - from_money(standing.reserved)
    assert from_money(whole.closing_balance) == left == 100 - Decimal("6.000000002")
    assert whole.scope == ORGANIZATION
    december = statement(clock, spent, scope=campaign("spring"))
    assert (told(december)["holds"], from_money(december.closing_balance)) == ((Decimal(-8), 1), 42)
    assert december.read_time.ToDatetime().month == 12


def test_what_there_is_no_statement_of(clock: Clock, spent: str) -> None:
    """A scope without a monthly budget, a month before its budget was set, a month to come, and no month at all."""
    reports = clock.wire.reports
    for fields, code, named in (
        ({"scope": run("r-2")}, grpc.StatusCode.NOT_FOUND, "run 'r-2'"),
        ({"period": f"{clock.year}-10"}, grpc.StatusCode.NOT_FOUND, f"in {clock.year}-10"),
        ({"period": f"{clock.year + 1}-01"}, grpc.StatusCode.FAILED_PRECONDITION, "has not begun"),
        ({"period": "0001-01"}, grpc.StatusCode.INVALID_ARGUMENT, "1970-01"),
        ({"period": "0000-01"}, grpc.StatusCode.INVALID_ARGUMENT, "period"),
    ):
        refused = refusal(reports.GetStatement, pb.GetStatementRequest(organization=spent, **fields), timeout=TIMEOUT_S)
        assert refused.code is code
        assert named in refused.message
    clock.wire.cap(spent, "5", run("r-2"))
    found = statement(clock, spent, scope=run("r-2"))
    assert (from_money(found.closing_balance), told(found)["commits"]) == (5, (Decimal(0), 0))
    refused = refusal(reports.GetStatement, pb.GetStatementRequest(organization="nobody"), timeout=TIMEOUT_S)
    assert refused.code is grpc.StatusCode.NOT_FOUND


def test_a_runs_statement_has_its_executions(clock: Clock, spent: str) -> None:
    """A run has no sums of its own anywhere: they are its executions'."""
    found = statement(clock, spent, scope=run("r-1"), period=f"{clock.year}-11")
    assert told(found)["commits"] == (Decimal("-1.50"), 1)
    assert from_money(found.closing_balance) == Decimal("3.50")


def split(clock: Clock, organization: str, *rules: spend_pb2.SplitRule, **fields: Any) -> pb.GetAttributedSpendResponse:
    request = pb.GetAttributedSpendRequest(
        **{
            "organization": organization,
            "scope_kind": budget_pb2.SCOPE_KIND_CAMPAIGN,
            "period": f"{clock.year}-11",
            "rules": rules,
            **fields,
        }
    )
    return clock.wire.reports.GetAttributedSpend(request, timeout=TIMEOUT_S)


def rule(label: str, value: str, model: Any, *shares: str) -> spend_pb2.SplitRule:
    return spend_pb2.SplitRule(
        label=label, value=value, model=model, shares=[spend_pb2.SplitShare(id=share) for share in shares]
    )


def entries(found: pb.GetAttributedSpendResponse) -> dict[str, tuple[Decimal, Decimal]]:
    assert sum(from_money(entry.cost) for entry in found.entries) == from_money(found.cost)
    return {entry.id: (from_money(entry.own), from_money(entry.shared)) for entry in found.entries}


def test_shared_costs_are_split(clock: Clock, spent: str) -> None:
    """The first rule counts that an execution falls under; the entries add up to the month's cost, to the nano."""
    found = split(
        clock, spent, rule("pool", "search", PROPORTIONAL, "spring", HOSTILE), rule("pool", "", EVEN, "x", "y")
    )
    assert from_money(found.cost) == Decimal("6.000000002")
    spring, hostile = Decimal("4.500000001"), Decimal("0.50")
    assert entries(found) == {
        "spring": (spring, Decimal("0.9")),
        HOSTILE: (hostile, Decimal("0.1")),
        "x": (Decimal(0), Decimal("0.000000001")),
        "y": (Decimal(0), Decimal(0)),
    }
    by_department = split(clock, spent, rule("none", "", EVEN, "x"), scope_kind=budget_pb2.SCOPE_KIND_DEPARTMENT)
    assert entries(by_department) == {
        "": (Decimal("4.500000002"), Decimal(0)),
        "sales": (Decimal("1.50"), Decimal(0)),
    }


def test_splits_as_of_a_time(clock: Clock, spent: str) -> None:
    """What was recorded before it, as if it were now; not in the future, and by rules that can be followed."""
    as_of = Timestamp()
    as_of.FromJsonString(f"{clock.year}-11-11T00:00:00Z")
    found = split(clock, spent, rule("pool", "", EVEN, "x"), as_of=as_of, period="")
    assert entries(found) == {"spring": (Decimal("1.50"), Decimal(0))}
    assert found.read_time == as_of
    as_of.FromJsonString(f"{clock.year}-12-30T00:00:00Z")
    broken: dict[str, dict[str, Any]] = {
        "as_of": {"as_of": as_of, "rules": [rule("pool", "", EVEN, "x")]},
        "rules[0].shares": {"rules": [rule("pool", "", EVEN, "x", "x")]},
    }
    for field, fields in broken.items():
        request = pb.GetAttributedSpendRequest(organization=spent, scope_kind=budget_pb2.SCOPE_KIND_CAMPAIGN, **fields)
        refused = refusal(clock.wire.reports.GetAttributedSpend, request, timeout=TIMEOUT_S)
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [*refused.violations] == [field]


def test_a_clock_that_was_put_back(clock: Clock, organization: str) -> None:
    """The books' time does not go back with it: what came since is in their month, in every report alike."""
    wire = clock.wire
    clock.set("06-02T12:00:00+00:00")
    wire.open(organization)
    wire.commit(wire.hold(organization, "1", campaign="spring"), "1")
    clock.set("05-18T12:00:00+00:00")
    wire.commit(wire.hold(organization, "3", campaign="spring"), "2")
    june = f"{clock.year}-06"
    found = statement(clock, organization)
    assert (found.period, told(found)["holds"], told(found)["commits"]) == (june, (Decimal(-4), 2), (Decimal(-3), 2))
    shared = split(clock, organization, rule("pool", "", EVEN, "x"), period="")
    assert entries(shared) == {"spring": (Decimal(3), Decimal(0))}
    again = split(clock, organization, rule("pool", "", EVEN, "x"), period="", as_of=shared.read_time)
    assert again == shared
    report = wire.reports.GetMonthlyReport(
        pb.GetMonthlyReportRequest(organization=organization, period=june), timeout=TIMEOUT_S
    )
    assert "| Cost | 3.00 | 0.00 | - |" in report.markdown
    clock.set("07-01T12:00:00+00:00")


def test_the_monthly_report_tells_the_last_month(clock: Clock, spent: str) -> None:
    """One total, every way to look at it, and names that stay names."""
    request = pb.GetMonthlyReportRequest(organization=spent)
    found = clock.wire.reports.GetMonthlyReport(request, timeout=TIMEOUT_S)
    assert found.period == f"{clock.year}-11"
    text = found.markdown
    assert text.startswith(f"# Spend in {clock.year}-11: `{spent}`\n")
    assert "| Cost | 6.000000002 | 0.00 | - |" in text
    assert "| campaign `spring` | 50.00 | 5.500000001 | 0.00 | 44.499999999 | 11.0 % | OK |" in text
    assert "| `<img src=x> ¦ [a](http://x) 'b'` | 0.50 | 8.3 % | 1 | 0.50 | 100.0 % |" in text
    assert "| without a token | 1 | 7 | 6.00 | 0.00 |" in text
    assert "| OUT_OF_BUDGET | campaign `spring`, month | 1 | 60.00 |" in text
    assert "| `writer` | 2 | 3.00 | 4.500000001 |" in text
    assert "None: no rule found anything to save." in text
    assert f"3.000000001 on {clock.year}-11-11, the dearest." in text
    assert f"`{' ' * 9}▄█▂▃▁{' ' * 16}`" in text
    current = pb.GetMonthlyReportRequest(organization=spent, period=f"{clock.year}-12")
    assert "The month is not over." in clock.wire.reports.GetMonthlyReport(current, timeout=TIMEOUT_S).markdown


def test_a_month_without_calls_is_told_too(clock: Clock, organization: str) -> None:
    """Every section says that there is nothing."""
    clock.wire.open(organization)
    found = clock.wire.reports.GetMonthlyReport(
        pb.GetMonthlyReportRequest(organization=organization), timeout=TIMEOUT_S
    )
    for nothing in ("No day has cost anything.", "There were no calls.", "No hold expired.", "No call was denied."):
        assert nothing in found.markdown
    assert not found.recommendations


def used(model: str) -> reservation_pb2.TokenUsage:
    return reservation_pb2.TokenUsage(model=model, input_tokens=10_000, output_tokens=1_000)


@pytest.fixture
def wasteful(clock: Clock, organization: str) -> str:
    """Return an organization with something to save by every rule, on the eleventh day of a November."""
    wire = clock.wire
    clock.set("11-11T12:00:00+00:00")
    wire.open(organization)
    wire.cap(organization, "1000")
    wire.cap(organization, "3", campaign("spring"), enforcement=budget_pb2.ENFORCEMENT_WARN)
    for number in range(50):
        for model, agent_type in (("gpt-4o", "writer"), ("gpt-4o-mini", "writer")):
            held = wire.hold(organization, "1.00", campaign="spring", agent_type=agent_type)
            outcome = reservation_pb2.OUTCOME_FAILED if number == 7 else reservation_pb2.OUTCOME_SUCCEEDED
            wire.commit(held, usage=used(model), outcome=outcome)
    for number in range(20):
        held = wire.hold(organization, "0.10", agent="a-1", agent_type="coder")
        outcome = reservation_pb2.OUTCOME_FAILED if number % 4 == 0 else reservation_pb2.OUTCOME_SUCCEEDED
        wire.commit(held, "0.10", outcome=outcome)
    for _ in range(10):
        wire.hold(organization, "0.20", ttl={"seconds": 60})
    clock.advance(timedelta(days=1))
    clock.swept()
    return organization


def test_a_report_recommends_what_would_save_money(clock: Clock, wasteful: str) -> None:
    """Every rule finds what it is about, with its sum, the largest first, in the message and in the Markdown."""
    request = pb.GetMonthlyReportRequest(organization=wasteful, period=f"{clock.year}-11")
    found = clock.wire.reports.GetMonthlyReport(request, timeout=TIMEOUT_S)
    made = {spend_pb2.RecommendationRule.Name(each.rule): each for each in found.recommendations}
    savings = [from_money(each.saving) for each in found.recommendations]
    assert savings == sorted(savings, reverse=True)
    costs = {
        row[0]: row[1]
        for row in clock.wire.sql(
            "SELECT model, sum(cost) FROM executions WHERE organization = %s GROUP BY model", wasteful
        )
    }
    dearest = clock.wire.sql("SELECT max(cost) FROM executions WHERE organization = %s AND model <> ''", wasteful)[0][0]
    told = {
        "RECOMMENDATION_RULE_CHEAPER_MODEL": ("writer", costs["gpt-4o"] - costs["gpt-4o-mini"]),
        "RECOMMENDATION_RULE_OVER_RESERVATION": ("writer", 100 - 100 * dearest),
        "RECOMMENDATION_RULE_FAILING_AGENT": ("a-1", Decimal("0.50")),
        "RECOMMENDATION_RULE_EXPIRING_HOLDS": ("", Decimal("2.00")),
    }
    for rule_name, (subject, saving) in told.items():
        assert (made[rule_name].subject, from_money(made[rule_name].saving)) == (subject, saving), rule_name
    exhausted = made["RECOMMENDATION_RULE_CAMPAIGN_EXHAUSTION"]
    # One whole day so far, and nineteen to come, the twelfth among them.
    spent = costs["gpt-4o"] + costs["gpt-4o-mini"]
    assert abs(from_money(exhausted.saving) - (20 * spent - 3)) < Decimal("0.000001")
    assert exhausted.subject == "spring"
    assert "Agents of type `writer` spent" in found.markdown
    assert "At this pace the month will have cost some" in found.markdown
    assert len(found.recommendations) == 5
