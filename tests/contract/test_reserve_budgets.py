"""Which budgets does a Reserve charge, and what does it open or demand?"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import combinations

import grpc
import pytest

from gatekeeper_client.money import from_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb
from tests.conftest import ServerFactory

from .refusals import refusal
from .wire import ORGANIZATION, Wire, agent, beside, campaign, decimals, department, run

SCOPES = {"department": department("x"), "campaign": campaign("x"), "agent": agent("x"), "run": run("x")}
WINDOWS = (budget_pb2.BUDGET_WINDOW_DAY, budget_pb2.BUDGET_WINDOW_MONTH, budget_pb2.BUDGET_WINDOW_TOTAL)


def test_every_scope_and_window_is_charged(wire: Wire, organization: str) -> None:
    """A call falls under the budgets of all its scopes over all windows, and of none else."""
    for scope in (None, *SCOPES.values()):
        for window in WINDOWS:
            wire.cap(organization, "100", scope, window=window)
    wire.cap(organization, "100", campaign("y"))
    held = wire.hold(organization, "4", **dict.fromkeys(SCOPES, "x"))
    wire.hold(organization, "1", campaign="x")
    wire.commit(held, "3")
    standing = {
        (budget.scope.kind, budget.scope.id, budget.window): decimals(budget)[:2]
        for budget in wire.status(organization).budgets
    }
    assert len(standing) == 16
    for (kind, name, _), amounts in standing.items():
        if name == "y":
            assert amounts == (0, 0)
        elif kind in {budget_pb2.SCOPE_KIND_ORGANIZATION, budget_pb2.SCOPE_KIND_CAMPAIGN}:
            assert amounts == (3, 1)
        else:
            assert amounts == (3, 0)


@pytest.mark.parametrize("full", SCOPES)
def test_all_together_or_none(wire: Wire, organization: str, full: str) -> None:
    """One full budget of five is enough for a denial, and the other four hold nothing then."""
    for name, scope in SCOPES.items():
        wire.cap(organization, "1" if name == full else "10", scope)
    denial = wire.deny(organization, "2", **dict.fromkeys(SCOPES, "x"))
    assert denial.budget.scope == SCOPES[full]
    assert {decimals(budget)[:2] for budget in wire.status(organization).budgets} == {(Decimal(0), Decimal(0))}


def test_scopes_of_one_name_are_apart(wire: Wire, organization: str) -> None:
    """A campaign and an agent of the same name have budgets of their own."""
    for scope in SCOPES.values():
        wire.cap(organization, "10", scope)
    for one, other in combinations(SCOPES, 2):
        wire.hold(organization, "1", **{one: "x", other: "x"})
    assert {decimals(wire.budget(organization, scope))[1] for scope in SCOPES.values()} == {3}
    assert decimals(wire.budget(organization))[1] == 6


def test_scopes_without_a_cap_are_recorded(wire: Wire, organization: str) -> None:
    """A campaign nobody has capped is not limited, gets no budget, and is kept with the call."""
    held = wire.hold(organization, "1000", **dict.fromkeys(SCOPES, "x"))
    assert held.campaign == "x"
    assert [budget.scope for budget in wire.status(organization).budgets] == [ORGANIZATION]


def test_names_are_told_apart_to_the_letter(wire: Wire, organization: str) -> None:
    """Names differ by case and accent; nothing is folded."""
    wire.cap(organization, "10", campaign("Été"))
    wire.hold(organization, "1", campaign="été")
    wire.hold(organization, "1", campaign="Ete")
    assert decimals(wire.budget(organization, campaign("Été")))[1] == 0


def test_a_crowd_gets_what_there_is(wire: Wire, organization: str) -> None:
    """Of 40 callers at once who want 0.10 of 1.00, ten get it."""
    wire.cap(organization, "1.00", campaign("x"))
    with beside() as pool:
        answers = list(pool.map(lambda _: wire.reserve(organization, "0.10", campaign="x"), range(40)))
    admitted = [answer for answer in answers if answer.HasField("reservation")]
    assert len(admitted) == 10
    assert {answer.denial.reason for answer in answers if answer.HasField("denial")} == {pb.DENIAL_REASON_HEADROOM_HELD}
    assert decimals(wire.budget(organization, campaign("x"))) == (0, 1, 0)


def test_a_new_organization_gets_1000_a_month(wire: Wire, organization: str) -> None:
    """The first Reserve opens an organization with one budget: 1000 USD a month, enforced."""
    answer = wire.reserve(organization, "1000")
    (budget,) = answer.budgets
    assert (budget.window, budget.enforcement) == (budget_pb2.BUDGET_WINDOW_MONTH, budget_pb2.ENFORCEMENT_ENFORCE)
    assert (budget.cap.units, budget.cap.currency_code) == (1000, "USD")
    assert wire.deny(organization, "0.000000001").reason == pb.DENIAL_REASON_HEADROOM_HELD


def test_a_first_call_that_is_denied_opens_it_too(wire: Wire, organization: str) -> None:
    """A denial is a verdict on a budget, so the budget is there afterwards, and the denial beside it."""
    assert wire.deny(organization, "1000.01").reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    assert wire.status(organization).can_execute
    assert wire.sql("SELECT count(*) FROM denials WHERE organization = %s", organization) == [(1,)]


def test_a_crowd_opens_it_once(wire: Wire, organization: str) -> None:
    """Sixteen first calls at once share one budget."""
    with beside() as pool:
        answers = list(pool.map(lambda _: wire.reserve(organization, "100"), range(16)))
    assert sum(answer.HasField("reservation") for answer in answers) == 10
    assert decimals(wire.budget(organization)) == (0, 1000, 0)


def test_the_default_cap_is_a_setting(start_server: ServerFactory, wire: Wire, organization: str) -> None:
    """The default cap of new organizations comes from the environment, by the name that deployments have for it."""
    server = start_server(database_url=wire.database_url, MAX_MONTHLY_BUDGET="12.50")
    other = Wire(server.address, wire.database_url)
    assert from_money(other.reserve(organization, "1").budgets[0].cap) == Decimal("12.5")
    other.close()


def test_a_misspelt_name_opens_nothing(start_server: ServerFactory, wire: Wire, organization: str) -> None:
    """Without auto_provision an unknown organization is NOT_FOUND, until SetCap opens it by its own budget."""
    server = start_server(database_url=wire.database_url, GATEKEEPER_AUTO_PROVISION="false")
    other = Wire(server.address, wire.database_url)
    before = wire.counts()
    for call in (lambda: other.reserve(organization, "1"), lambda: other.cap(organization, "1", campaign("c"))):
        refused = refusal(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
        assert refused.metadata == {"organization": organization}
    assert wire.counts() == before
    other.cap(organization, "5")
    other.hold(organization, "5")
    other.close()


@pytest.mark.parametrize("kind", ["department", "campaign", "agent"])
def test_known_scopes_may_be_demanded(wire: Wire, organization: str, kind: str) -> None:
    """With known_scopes a scope without a budget is NOT_FOUND, and nothing is written; one with a budget passes."""
    wire.cap(organization, "10")
    wire.cap(organization, "10", SCOPES[kind])
    wire.sql("UPDATE organizations SET known_scopes = true WHERE organization = %s", organization)
    before = wire.counts()
    refused = refusal(wire.reserve, organization, "1", **{kind: "X"})
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "SCOPE_NOT_FOUND")
    assert refused.metadata == {"organization": organization, "kind": kind, "id": "X"}
    assert wire.counts() == before
    wire.hold(organization, "1", **{kind: "x"}, run="any", task="any", agent_type="any")


def test_asking_writes_nothing(wire: Wire, organization: str) -> None:
    """With validate_only the verdict is real and nothing else: no hold, no denial, no count, no organization."""
    before = wire.counts()
    first = wire.reserve(organization, "1", validate_only=True)
    assert first.reservation.state == pb.RESERVATION_STATE_HELD
    assert decimals(first.budgets[0]) == (0, 0, 1000)
    assert wire.deny(organization, "1001", validate_only=True).reason == pb.DENIAL_REASON_OUT_OF_BUDGET
    assert wire.counts() == before
    assert refusal(wire.status, organization).code == grpc.StatusCode.NOT_FOUND
    wire.cap(organization, "5", enforcement=budget_pb2.ENFORCEMENT_SHADOW)
    wire.hold(organization, "5")
    before = wire.counts()
    assert wire.reserve(organization, "1", validate_only=True).reservation.would_deny
    assert wire.counts() == before
    status = wire.budget(organization)
    assert (decimals(status), status.would_deny_count) == ((0, 5, 0), 0)


def test_an_id_that_was_only_asked_with_is_free(wire: Wire, organization: str) -> None:
    """After validate_only the same id may be used for a hold."""
    wire.reserve(organization, "1", reservation_id="same", validate_only=True)
    held = wire.hold(organization, "2", reservation_id="same")
    assert held.expire_time.ToDatetime() - held.create_time.ToDatetime() == timedelta(minutes=10)


def test_asking_and_holding_mix_at_once(wire: Wire, organization: str) -> None:
    """Callers who only ask do not take from those who hold, whatever batch they share."""
    wire.cap(organization, "10")
    with beside() as pool:
        answers = list(pool.map(lambda n: wire.reserve(organization, "1", validate_only=n % 2 == 0), range(20)))
    assert all(answer.HasField("reservation") for answer in answers[1::2])
    assert decimals(wire.budget(organization)) == (0, 10, 0)
