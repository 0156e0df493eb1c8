"""What does a Commit record?"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import reservation_pb2 as pb
from gatekeeper_client.v1.gatekeeper_service_pb2 import CommitRequest

from .refusals import refusal
from .wire import TIMEOUT_S, Wire, beside, campaign, decimals

EXCESSES = "SELECT scope_kind, kind, amount, reservation_id FROM excesses WHERE organization = %s ORDER BY scope_kind"
ATTRIBUTION = {"department": "d", "campaign": "c", "agent": "a", "agent_type": "seo", "run": "r", "task": "t"}
METRICS = pb.Metrics(
    quality_score=100,
    impact_score=0,
    conversions=3,
    revenue=to_money("12.340000001", "USD"),
    latency=Duration(seconds=90_061, nanos=5_000),
)


def test_the_rest_of_the_hold_is_free_again(wire: Wire, organization: str) -> None:
    """The real cost is spent, the rest is free, and the answer shows both."""
    wire.cap(organization, "10")
    held = wire.hold(organization, "4")
    answer = wire.commit(held, "1.25")
    assert answer.reservation.state == pb.RESERVATION_STATE_COMMITTED
    assert answer.reservation.end_time == answer.execution.commit_time
    assert answer.reservation.amount == held.amount
    assert from_money(answer.execution.cost) == Decimal("1.25")
    assert answer.execution.reserved_amount == held.amount
    assert answer.overage_amount == to_money(0, "USD")
    assert not answer.late
    assert decimals(answer.budgets[0]) == (Decimal("1.25"), 0, Decimal("8.75"))
    assert decimals(wire.budget(organization)) == decimals(answer.budgets[0])


def test_the_execution_says_all_that_is_known(wire: Wire, organization: str) -> None:
    """The billing log repeats what the reservation was for, and tells how the call went."""
    held = wire.hold(organization, "4", labels={"a": "1", "b": "2"}, **ATTRIBUTION)
    answer = wire.commit(
        held,
        usage=pb.TokenUsage(input_tokens=1000),
        outcome=pb.OUTCOME_FAILED,
        metrics=METRICS,
        labels={"b": "3", "c": "4"},
    )
    execution = answer.execution
    assert {name: getattr(execution, name) for name in ATTRIBUTION} == ATTRIBUTION
    assert execution.kind == pb.EXECUTION_KIND_COMMIT
    assert execution.outcome == pb.OUTCOME_FAILED
    assert execution.metrics == METRICS
    assert dict(execution.labels) == {"a": "1", "b": "3", "c": "4"}
    assert dict(answer.reservation.labels) == {"a": "1", "b": "2"}
    assert (execution.input_tokens, execution.day, execution.month) == (1000, held.day, held.month)
    assert wire.executions(organization) == [execution]


@pytest.mark.parametrize("outcome", [pb.OUTCOME_SUCCEEDED, pb.OUTCOME_FAILED, pb.OUTCOME_CANCELLED])
def test_every_outcome_costs(wire: Wire, organization: str, outcome: pb.Outcome) -> None:
    """A call that failed or was cancelled is recorded like any other."""
    execution = wire.commit(wire.hold(organization), "0.5", outcome=outcome).execution
    assert execution.outcome == outcome
    assert decimals(wire.budget(organization))[0] == Decimal("0.5")


def test_little_need_be_said(wire: Wire, organization: str) -> None:
    """Without an outcome it is SUCCEEDED; without metrics there are none; a cost of nothing is one too."""
    execution = wire.commit(wire.hold(organization), "0").execution
    assert execution.outcome == pb.OUTCOME_SUCCEEDED
    assert not execution.HasField("metrics")
    assert execution.cost == to_money(0, "USD")


def test_what_costs_more_is_recorded_too(wire: Wire, organization: str) -> None:
    """More than was held is spent all the same; overage_amount says how much, an excess why a cap is passed."""
    wire.cap(organization, "10")
    wire.cap(organization, "3", campaign("c"))
    held = wire.hold(organization, "2", campaign="c")
    answer = wire.commit(held, "5")
    assert from_money(answer.overage_amount) == 3
    assert decimals(wire.budget(organization)) == (5, 0, 5)
    status = wire.budget(organization, campaign("c"))
    assert (decimals(status), status.tier) == ((5, 0, 0), budget_pb2.BUDGET_TIER_EXCEEDED)
    assert wire.sql(EXCESSES, organization) == [("CAMPAIGN", "OVERAGE", 2, held.reservation_id)]
    assert wire.deny(organization, "0.01", campaign="c").reason == pb.DENIAL_REASON_OUT_OF_BUDGET


def test_a_repeated_commit_is_the_same_answer(wire: Wire, organization: str) -> None:
    """The same Commit again returns the same reservation and execution, and costs nothing more."""
    held = wire.hold(organization, "2", labels={"a": "1"})
    first = wire.commit(held, "3", metrics=METRICS, labels={"b": "2"})
    assert wire.commit(held, "3", metrics=METRICS, labels={"b": "2"}) == first
    assert decimals(wire.budget(organization))[0] == 3


def test_a_repeated_commit_need_only_cost_the_same(wire: Wire, organization: str) -> None:
    """The same cost, however put, is the same commit; what was recorded first stands."""
    held = wire.hold(organization, "2", agent_type="content")
    first = wire.commit(held, usage=pb.TokenUsage(input_tokens=25_000), outcome=pb.OUTCOME_FAILED)
    assert from_money(first.execution.cost) == 1
    assert wire.commit(held, "1") == first
    assert wire.executions(organization) == [first.execution]


def test_one_commit_at_once_is_one_execution(wire: Wire, organization: str) -> None:
    """Sixteen callers who commit the same get the same answer, and one cost."""
    held = wire.hold(organization, "2")
    with beside() as pool:
        answers = list(pool.map(lambda _: wire.commit(held, "1.5"), range(16)))
    assert {answer.SerializeToString(deterministic=True) for answer in answers} == {
        answers[0].SerializeToString(deterministic=True)
    }
    assert decimals(wire.budget(organization))[0] == Decimal("1.5")


def test_of_different_commits_at_once_one_stands(wire: Wire, organization: str) -> None:
    """Of callers who commit different amounts one is recorded, and the others are told which."""
    held = wire.hold(organization, "2")
    with beside() as pool:
        calls = [pool.submit(wire.commit, held, str(amount)) for amount in range(1, 9)]
    errors = [call.exception() for call in calls if call.exception()]
    (answer,) = [call.result() for call in calls if not call.exception()]
    assert len(errors) == 7
    assert decimals(wire.budget(organization))[0] == from_money(answer.execution.cost)


@pytest.mark.parametrize("other", ["1.000000001", "0", "2"])
def test_another_amount_is_refused(wire: Wire, organization: str, other: str) -> None:
    """A commit stands: FAILED_PRECONDITION for another amount, and nothing changes."""
    held = wire.hold(organization, "2")
    wire.commit(held, "1")
    before = wire.counts()
    refused = refusal(wire.commit, held, other)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_COMMITTED")
    assert refused.metadata == {"reservation_id": held.reservation_id, "committed": "1.00 USD"}
    assert wire.counts() == before
    assert decimals(wire.budget(organization))[0] == 1


def test_after_a_release_it_is_late(wire: Wire, organization: str) -> None:
    """A call that was made after all is recorded as late; beyond the cap there is an excess that says so."""
    wire.cap(organization, "2")
    held = wire.hold(organization, "2")
    wire.release(held)
    wire.hold(organization, "1")
    answer = wire.commit(held, "2")
    assert answer.late
    assert answer.execution.late
    assert answer.reservation.state == pb.RESERVATION_STATE_RELEASED
    assert answer.overage_amount == to_money(0, "USD")
    assert decimals(wire.budget(organization)) == (2, 1, 0)
    assert wire.sql(EXCESSES, organization) == [("ORGANIZATION", "LATE_COMMIT", 1, held.reservation_id)]
    assert wire.commit(held, "2") == answer
    assert refusal(wire.commit, held, "1").reason == "ALREADY_COMMITTED"


def test_the_organization_need_not_be_named(wire: Wire, organization: str) -> None:
    """Commit finds the reservation by its id alone, and a repeated one the same answer."""
    held = wire.hold(organization, "2")
    request = CommitRequest(reservation_id=held.reservation_id, amount=to_money(1))
    answer = wire.gatekeeper.Commit(request, timeout=TIMEOUT_S)
    assert answer.reservation.organization == organization
    assert wire.gatekeeper.Commit(request, timeout=TIMEOUT_S) == answer
    assert wire.commit(held, "1") == answer


def test_an_ambiguous_id_needs_it(wire: Wire, organization: str) -> None:
    """Where two organizations use one id, INVALID_ARGUMENT asks for the organization."""
    held = wire.hold(organization, reservation_id=organization)
    wire.hold(f"{organization}2", reservation_id=organization)
    held.organization = ""
    for call in (wire.release, wire.extend, lambda held: wire.commit(held, "1")):
        refused = refusal(call, held)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "RESERVATION_AMBIGUOUS")
        assert refused.metadata == {"reservation_id": organization}
        assert list(refused.violations) == ["organization"]


def test_an_unknown_reservation(wire: Wire, organization: str) -> None:
    """NOT_FOUND for an id that nobody made, with and without its organization, known or not; nothing is opened."""
    wire.cap(organization, "1")
    before = wire.counts()
    for owner in (organization, f"{organization}2", ""):
        held = pb.Reservation(reservation_id="no-such-id", organization=owner)
        for call in (wire.release, wire.extend, lambda held: wire.commit(held, "1")):
            refused = refusal(call, held)
            assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "RESERVATION_NOT_FOUND")
            assert refused.metadata == {"reservation_id": "no-such-id"}
    assert wire.counts() == before


@pytest.mark.parametrize("field", ["amount", "revenue"])
def test_another_currency_is_refused(wire: Wire, organization: str, field: str) -> None:
    """Cost and revenue are in the organization's currency: another one is FAILED_PRECONDITION, and nothing is spent."""
    held = wire.hold(organization, "2")
    euros, dollars = to_money(1, "EUR"), to_money(1)
    request = CommitRequest(
        reservation_id=held.reservation_id,
        organization=organization,
        amount=euros if field == "amount" else dollars,
        metrics=pb.Metrics(revenue=euros if field == "revenue" else dollars),
    )
    refused = refusal(wire.gatekeeper.Commit, request, timeout=TIMEOUT_S)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_MISMATCH")
    assert decimals(wire.budget(organization))[:2] == (0, 2)


def test_what_is_committed_is_in_the_database(wire: Wire, organization: str) -> None:
    """The row that billing reads has every figure of the answer."""
    held = wire.hold(organization, "2")
    wire.commit(held, "1.000000001", metrics=METRICS)
    assert wire.sql(
        "SELECT cost, reserved_amount, quality_score, impact_score, conversions, revenue, latency"
        " FROM executions WHERE organization = %s",
        organization,
    ) == [
        (
            Decimal("1.000000001"),
            2,
            100,
            0,
            3,
            Decimal("12.340000001"),
            timedelta(days=1, seconds=3661, microseconds=5),
        )
    ]
