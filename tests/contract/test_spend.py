"""Do spend reports say what the billing log says, day by day, list by list, now and as of the past?"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper.rpc.paging import write_token
from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from gatekeeper_client.v1 import reservation_pb2

from .conftest import Clock
from .refusals import refusal
from .wire import TIMEOUT_S, Wire, agent, campaign, department, until

SUCCEEDED, FAILED = reservation_pb2.OUTCOME_SUCCEEDED, reservation_pb2.OUTCOME_FAILED
LISTS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "ListCampaignSpend": (report_pb.ListCampaignSpendRequest, "campaigns", ("campaign",)),
    "ListDepartmentSpend": (report_pb.ListDepartmentSpendRequest, "departments", ("department",)),
    "ListAgentSpend": (report_pb.ListAgentSpendRequest, "agents", ("agent", "agent_type")),
    "ListModelSpend": (report_pb.ListModelSpendRequest, "models", ("model",)),
}
NEW_YORK = "America/New_York"


def spend(wire: Wire, organization: str, amount: str, outcome: Any = SUCCEEDED, **call: Any) -> None:
    metrics = call.pop("metrics", None)
    wire.commit(wire.hold(organization, "1", **call), amount, outcome=outcome, metrics=metrics)


def summary(wire: Wire, organization: str, **fields: Any) -> report_pb.GetSpendSummaryResponse:
    request = report_pb.GetSpendSummaryRequest(organization=organization, **fields)
    return wire.reports.GetSpendSummary(request, timeout=TIMEOUT_S)


def page(wire: Wire, name: str, organization: str, **fields: Any) -> Any:
    request = LISTS[name][0](organization=organization, **fields)
    return getattr(wire.reports, name)(request, timeout=TIMEOUT_S)


def pages(wire: Wire, name: str, organization: str, **fields: Any) -> Iterator[Any]:
    token = ""
    while True:
        answer = page(wire, name, organization, page_token=token, **fields)
        yield answer
        token = answer.next_page_token
        if not token:
            return


def test_a_month(clock: Clock, organization: str) -> None:
    """Its calls, their figures, each day up to today, the month before, the budget and the denials."""
    wire, year = clock.wire, clock.year
    wire.open(organization, time_zone=NEW_YORK)
    clock.set("03-02T12:00:00+00:00")
    spend(wire, organization, "0.10")
    clock.set("03-20T12:00:00+00:00")
    spend(wire, organization, "0.40")
    # Still March where the organization is.
    clock.set("04-01T03:59:59+00:00")
    spend(wire, organization, "0.25")
    clock.set("04-01T04:00:00+00:00")
    spend(wire, organization, "1.000000001", metrics=reservation_pb2.Metrics(quality_score=80, conversions=3))
    late = wire.hold(organization, "0.50")
    clock.set("04-03T12:00:00+00:00")
    wire.commit(late, "0.20", outcome=FAILED)
    wire.hold(organization, "2")
    wire.deny(organization, "1000")
    april, march = summary(wire, organization), summary(wire, organization, period=f"{year}-03")
    assert (april.organization, april.period, march.period) == (organization, f"{year}-04", f"{year}-03")
    assert [(day.day[-2:], from_money(day.cost), day.calls) for day in april.days] == [
        ("01", Decimal("1.200000001"), 2),
        ("02", 0, 0),
        ("03", 0, 0),
    ]
    spent = april.spend
    assert (spent.calls, spent.succeeded, spent.failed, spent.conversions) == (2, 1, 1, 3)
    assert from_money(spent.cost) == Decimal("1.200000001")
    assert from_money(spent.cost_per_call) == Decimal("0.6")
    assert from_money(spent.cost_per_conversion) == Decimal("0.4")
    assert from_money(spent.late_amount) == Decimal("0.20")
    assert (spent.success_rate_percent, spent.quality_score, spent.return_on_spend, spent.share_percent) == (
        50,
        80,
        0,
        100,
    )
    assert not spent.HasField("impact_score")
    assert not spent.HasField("latency")
    assert april.budget == wire.budget(organization)
    assert from_money(april.budget.spent) == Decimal("1.200000001")
    assert (april.denials, march.denials) == (1, 0)
    previous = april.previous
    assert (previous.period, from_money(previous.cost)) == (f"{year}-03", Decimal("0.75"))
    # By the third of March there had been a tenth.
    assert from_money(previous.cost_to_same_day) == Decimal("0.10")
    assert previous.change_percent == pytest.approx(1100.000001)
    assert len(march.days) == 31
    assert march.days[-1].day == f"{year}-03-31"
    assert sum(from_money(day.cost) for day in march.days) == from_money(march.spend.cost) == Decimal("0.75")
    assert not march.previous.HasField("change_percent")


def test_as_of_the_past(clock: Clock, organization: str) -> None:
    """What is asked as of a time is what was answered then, whether or not it was added up meanwhile."""
    wire = clock.wire
    wire.open(organization)
    answers = []
    for day in ("05-30", "05-31", "06-01", "06-02"):
        clock.set(f"{day}T10:00:00+00:00")
        spend(wire, organization, "0.5", campaign="spring")
        clock.set(f"{day}T18:00:00+00:00")
        answers.append((summary(wire, organization), page(wire, "ListCampaignSpend", organization)))
    newest = "SELECT recorded_before FROM spend_marks WHERE organization = %s AND extract(day FROM recorded_before) = 2"
    until(lambda: wire.sql(newest, organization))
    for told, listed in answers:
        assert summary(wire, organization, as_of=told.read_time) == told
        assert page(wire, "ListCampaignSpend", organization, as_of=told.read_time) == listed
    assert [from_money(told.spend.cost) for told, _ in answers] == [Decimal("0.5"), 1, Decimal("0.5"), 1]


def test_a_clock_that_was_put_back(clock: Clock, organization: str) -> None:
    """An answer's own time is not in the future, for its next page and for whoever asks as of it."""
    wire = clock.wire
    clock.set("06-02T12:00:00+00:00")
    wire.open(organization)
    for name in "abc":
        spend(wire, organization, "0.5", campaign=name)
    clock.set("05-18T12:00:00+00:00")
    found = summary(wire, organization)
    assert (found.period, from_money(found.spend.cost)) == (f"{clock.year}-06", Decimal("1.5"))
    listed = [*pages(wire, "ListCampaignSpend", organization, page_size=1)]
    assert [entry.campaign for each in listed for entry in each.campaigns] == ["a", "b", "c"]
    assert summary(wire, organization, as_of=found.read_time) == found
    clock.set("07-01T12:00:00+00:00")


@pytest.fixture
def filled(wire: Wire, organization: str) -> str:
    """Spend on three campaigns, departments and agents, one of each without a name, and on two models."""
    wire.cap(organization, "50", campaign("c1"))
    wire.cap(organization, "50", department("d1"))
    wire.cap(organization, "50", agent("a1"))
    for number in range(9):
        names = {
            "campaign": f"c{number % 3}" if number % 3 else "",
            "department": f"d{number % 3}" if number % 3 else "",
            "agent": f"a{number % 3}" if number % 3 else "",
            "agent_type": "even" if number % 2 else "odd",
        }
        spend(wire, organization, "0.25" if number % 3 else f"0.{number + 1}", **names)
    tokens = reservation_pb2.TokenEstimate(model="gpt-4o", input_tokens=1000, max_output_tokens=10)
    held = wire.reserve(organization, tokens=tokens).reservation
    wire.commit(held, usage=reservation_pb2.TokenUsage(model="gpt-4o", input_tokens=1000, output_tokens=10))
    return organization


@pytest.mark.parametrize("name", LISTS)
def test_lists(wire: Wire, filled: str, name: str) -> None:
    """Pages of any size have the same entries, the dearest first; all together are the month."""
    _, field, key = LISTS[name]
    (whole,) = pages(wire, name, filled)
    entries = list(getattr(whole, field))
    costs = [from_money(entry.spend.cost) for entry in entries]
    assert len(entries) > 1
    assert costs == sorted(costs, reverse=True)
    month = summary(wire, filled)
    assert sum(costs) == from_money(month.spend.cost)
    assert sum(entry.spend.calls for entry in entries) == month.spend.calls == 10
    assert sum(entry.spend.share_percent for entry in entries) == pytest.approx(100)
    assert len({tuple(getattr(entry, part) for part in key) for entry in entries}) == len(entries)
    for size in (1, 2, 3):
        assert [e for answer in pages(wire, name, filled, page_size=size) for e in getattr(answer, field)] == entries


def test_budgets_stand_beside(wire: Wire, filled: str) -> None:
    """Of what has a monthly budget, how it stands: what was spent on it is what is listed."""
    for name, scope in (
        ("ListCampaignSpend", campaign("c1")),
        ("ListDepartmentSpend", department("d1")),
        ("ListAgentSpend", agent("a1")),
    ):
        _, field, key = LISTS[name]
        entries = getattr(page(wire, name, filled), field)
        budgeted = [entry for entry in entries if entry.HasField("budget")]
        assert {getattr(entry, key[0]) for entry in budgeted} == {scope.id}
        assert budgeted[0].budget == wire.budget(filled, scope)
        assert sum(from_money(entry.spend.cost) for entry in budgeted) == from_money(budgeted[0].budget.spent)


def test_what_comes_between_pages_moves_nothing(wire: Wire, filled: str) -> None:
    """All pages are as of the first one's time."""
    (whole,) = pages(wire, "ListCampaignSpend", filled)
    found, times = [], set()
    for answer in pages(wire, "ListCampaignSpend", filled, page_size=1):
        found += list(answer.campaigns)
        times.add(answer.read_time.ToNanoseconds())
        spend(wire, filled, "0.9", campaign="c2")
    assert found == list(whole.campaigns)
    assert times == {whole.read_time.ToNanoseconds()}


def test_names_of_any_script_can_be_paged(wire: Wire, organization: str) -> None:
    """Two names as long as names may be, of the largest characters there are, fit into a page token."""
    face = "\N{GRINNING FACE}" * 127
    for last in "ab":
        spend(wire, organization, "0.1", agent=face + last, agent_type=face + last)
    listed = [entry for answer in pages(wire, "ListAgentSpend", organization, page_size=1) for entry in answer.agents]
    assert sorted(entry.agent[-1] for entry in listed) == ["a", "b"]


def test_nothing_yet(wire: Wire, organization: str) -> None:
    """A month without calls is a month of days without cost."""
    wire.open(organization)
    found = summary(wire, organization)
    assert (from_money(found.spend.cost), found.spend.calls, found.denials) == (0, 0, 0)
    assert not found.spend.HasField("cost_per_call")
    assert not found.previous.HasField("change_percent")
    assert {from_money(day.cost) for day in found.days} == {Decimal(0)}
    for name, (_, field, _) in LISTS.items():
        assert not getattr(page(wire, name, organization), field)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"period": "2999-01"}, ("FAILED_PRECONDITION", "2999-01 has not begun")),
        ({"period": "0001-01"}, ("INVALID_ARGUMENT", "period: must be 1970-01 or later")),
        ({"as_of": Timestamp(seconds=32_503_680_000)}, ("INVALID_ARGUMENT", "as_of: is in the future")),
        ({"as_of": Timestamp(seconds=-62_135_596_800)}, ("INVALID_ARGUMENT", "as_of: must be an instant")),
        ({"as_of": Timestamp(nanos=-1)}, ("INVALID_ARGUMENT", "as_of")),
        ({"organization": "nobody"}, ("NOT_FOUND", "There is no organization 'nobody'")),
    ],
)
@pytest.mark.parametrize("name", ["GetSpendSummary", "ListCampaignSpend"])
def test_bad_input(wire: Wire, organization: str, name: str, fields: dict[str, Any], told: tuple[str, str]) -> None:
    """What cannot be reported is refused, and told why."""
    wire.open(organization)
    request: Any = LISTS[name][0] if name in LISTS else report_pb.GetSpendSummaryRequest
    given = {"organization": organization, **fields}
    refused = refusal(getattr(wire.reports, name), request(**given), timeout=TIMEOUT_S)
    assert (refused.code, told[1] in refused.message) == (grpc.StatusCode[told[0]], True), refused


@pytest.mark.parametrize(
    ("read_time", "cost"),
    [
        ("soon", "1"),
        ("0001-01-01T00:00:00+00:00", "1"),
        ("9999-12-31T23:59:59+00:00", "1"),
        ("2026-01-01T00:00:00+00:00", "NaN"),
        ("2026-01-01T00:00:00+00:00", "1e999999999"),
        ("2026-01-01T00:00:00+00:00", "1e-999999"),
        ("2026-01-01T00:00:00+00:00", "one"),
    ],
)
def test_foreign_tokens(wire: Wire, organization: str, read_time: str, cost: str) -> None:
    """A token that this server did not make is refused."""
    wire.open(organization)
    request = report_pb.ListCampaignSpendRequest(organization=organization)
    request.page_token = write_token(request, (read_time, cost, "spring"))
    refused = refusal(wire.reports.ListCampaignSpend, request, timeout=TIMEOUT_S)
    assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


def test_organizations(wire: Wire, organization: str) -> None:
    """By name, page by page, each once; or the one that is asked for, or NOT_FOUND."""
    names = [f"{organization}-{letter}" for letter in "bac"]
    for name in names:
        wire.open(name, time_zone=NEW_YORK)

    def listed(**fields: Any) -> Any:
        return wire.reports.ListOrganizations(report_pb.ListOrganizationsRequest(**fields), timeout=TIMEOUT_S)

    found: list[Any] = []
    token = ""
    while token or not found:
        answer = listed(page_size=2, page_token=token)
        found += answer.organizations
        token = answer.next_page_token
    mine = [each for each in found if each.organization in names]
    assert [each.organization for each in mine] == sorted(names)
    assert {(each.currency_code, each.time_zone) for each in mine} == {("USD", NEW_YORK)}
    assert len({each.organization for each in found}) == len(found)
    assert list(listed(organization=names[0]).organizations) == [mine[1]]
    absent = report_pb.ListOrganizationsRequest(organization="nobody")
    assert refusal(wire.reports.ListOrganizations, absent, timeout=TIMEOUT_S).reason == "ORGANIZATION_NOT_FOUND"
