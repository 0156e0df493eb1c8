"""What do callers hear when too many wait, when they wait too long, and when one of them spoils a batch?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import reservation_pb2
from tests.conftest import ServerFactory

from .refusals import refusal, refusal_of
from .wire import QUEUED_S, Wire, beside, campaign, decimals

PATIENCE_S = 0.3
POISON = (
    "ALTER TABLE {table} ADD CONSTRAINT poison CHECK (organization <> '{organization}' OR {column} <> 6.66) NOT VALID"
)
ANTIDOTE = "ALTER TABLE {table} DROP CONSTRAINT poison"


def impatient(wire: Wire, organization: str, held: reservation_pb2.Reservation) -> dict[str, Callable[..., Any]]:
    """Return calls that take the lock, by RPC; each takes a timeout."""
    one = to_money(1)
    named: Any = {"organization": organization, "reservation_id": held.reservation_id}
    return {
        "Reserve": lambda **o: wire.gatekeeper.Reserve(pb.ReserveRequest(organization=organization, amount=one), **o),
        "Commit": lambda **o: wire.gatekeeper.Commit(pb.CommitRequest(**named, amount=one), **o),
        "Release": lambda **o: wire.gatekeeper.Release(pb.ReleaseRequest(**named), **o),
        "Extend": lambda **o: wire.gatekeeper.Extend(pb.ExtendRequest(**named, amount=to_money(2)), **o),
        "SetCap": lambda **o: wire.gatekeeper.SetCap(pb.SetCapRequest(organization=organization, cap=one), **o),
    }


@pytest.mark.parametrize("timeout", [0, -1, 1e-9])
def test_a_deadline_that_is_past(wire: Wire, organization: str, timeout: float) -> None:
    """DEADLINE_EXCEEDED, and nothing is written, not even the organization."""
    before = wire.counts()
    with pytest.raises(grpc.RpcError) as caught:
        wire.gatekeeper.Reserve(pb.ReserveRequest(organization=organization, amount=to_money(1)), timeout=timeout)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    time.sleep(QUEUED_S)
    assert wire.counts() == before


@pytest.mark.parametrize("name", ["Reserve", "Commit", "Release", "Extend", "SetCap"])
def test_a_deadline_that_passes_in_the_queue(wire: Wire, organization: str, name: str) -> None:
    """Whoever no longer waits is not served, the first in the queue and those behind: nothing changes afterwards."""
    wire.cap(organization, "10")
    held = wire.hold(organization, "1")
    attempt = impatient(wire, organization, held)[name]
    before, standing = wire.counts(), wire.status(organization)
    with wire.locked(organization), beside() as pool:
        calls = [pool.submit(attempt, timeout=PATIENCE_S) for _ in range(3)]
        errors: list[Any] = [call.exception() for call in calls]
        # The server hears of it a moment later than the caller.
        time.sleep(PATIENCE_S)
    assert {error.code() for error in errors} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert wire.hold(organization, "0").amount.units == 0
    assert wire.counts() == before | {"reservations": before["reservations"] + 1}
    assert wire.status(organization) == standing


def test_a_call_that_is_cancelled_in_the_queue(wire: Wire, organization: str) -> None:
    """Cancelled calls are not admitted; those around them are."""
    wire.cap(organization, "10")
    request = pb.ReserveRequest(organization=organization, amount=to_money(1))
    with wire.locked(organization):
        calls = [wire.gatekeeper.Reserve.future(request) for _ in range(6)]
        wire.wait_for_lock()
        time.sleep(QUEUED_S)
        for call in calls[::2]:
            call.cancel()
        time.sleep(QUEUED_S)
    assert all(call.result().HasField("reservation") for call in calls[1::2])
    assert decimals(wire.budget(organization))[1] == 3


def test_patience_is_each_callers_own(wire: Wire, organization: str) -> None:
    """Beside one who gives up in the queue another is served."""
    wire.cap(organization, "10")
    with beside() as pool:
        with wire.locked(organization):
            first = pool.submit(wire.reserve, organization, "1")
            wire.wait_for_lock()
            hasty = pool.submit(impatient(wire, organization, reservation_pb2.Reservation())["Reserve"], timeout=0.3)
            patient = pool.submit(wire.reserve, organization, "1")
            assert hasty.exception()
        assert first.result().HasField("reservation")
        assert patient.result().HasField("reservation")
    assert decimals(wire.budget(organization))[1] == 2


def test_a_queue_that_is_full(start_server: ServerFactory, wire: Wire, organization: str) -> None:
    """RESOURCE_EXHAUSTED and when to come back, at once; UNAVAILABLE once the database seems to hang; then all is well.

    Those who wait already are served, and so are other organizations.
    """
    server = start_server(database_url=wire.database_url, GATEKEEPER_QUEUE_MAX="1", GATEKEEPER_STALLED_AFTER_S="1.5")
    small = Wire(server.address, wire.database_url)
    small.cap(organization, "10")
    with beside() as pool:
        with small.locked(organization):
            calls = [pool.submit(small.reserve, organization, "1")]
            small.wait_for_lock()
            calls.append(pool.submit(small.reserve, organization, "1"))
            time.sleep(2 * QUEUED_S)
            full = refusal(small.reserve, organization, "1")
            small.hold(f"{organization}2", "1")
            time.sleep(1.5)
            stalled = refusal(small.reserve, organization, "1")
        assert all(call.result().HasField("reservation") for call in calls)
    assert (full.code, full.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert full.retry_delay_s == 0.1
    assert (stalled.code, stalled.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert stalled.retry_delay_s == 1
    small.hold(organization, "1")
    assert decimals(small.budget(organization))[1] == 3
    small.close()


@contextmanager
def poisoned(wire: Wire, organization: str, table: str, column: str) -> Iterator[None]:
    """Let PostgreSQL refuse the amount 6.66 in a column."""
    wire.sql(POISON.format(organization=organization, table=table, column=column))
    try:
        yield
    finally:
        wire.sql(ANTIDOTE.format(table=table))


def assert_internal(error: Any) -> None:
    """Assert that a call failed as a defect of the server, without a word of PostgreSQL's."""
    refused = refusal_of(error)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert refused.message == (
        "Something unforeseen happened; the server's log has the cause. Try again once with the same ids."
    )
    assert refused.metadata == {}
    assert not refused.violations
    assert b"poison" not in error.trailing_metadata()[-1].value


def test_a_poisoned_reserve_fails_alone(wire: Wire, organization: str) -> None:
    """Of a batch that PostgreSQL refuses for one call's sake the others are admitted, and that one may come again."""
    wire.cap(organization, "100")
    amounts = ["1", "2", "6.66", "4", "8"]
    with beside() as pool:
        with poisoned(wire, organization, "reservations", "amount"):
            with wire.locked(organization):
                first = pool.submit(wire.hold, organization, "16")
                wire.wait_for_lock()
                calls = [pool.submit(wire.hold, organization, amount, reservation_id=amount) for amount in amounts]
                time.sleep(2 * QUEUED_S)
            assert first.result()
            assert_internal(calls.pop(2).exception())
            assert [call.result().amount.units for call in calls] == [1, 2, 4, 8]
            assert decimals(wire.budget(organization))[1] == 31
        assert wire.hold(organization, "6.66", reservation_id="6.66")


def test_a_poisoned_commit_fails_alone(wire: Wire, organization: str) -> None:
    """So with commits: the hold of the one that fails stays, and its commit may come again."""
    held = [wire.hold(organization, "10") for _ in range(5)]
    costs = ["1", "6.66", "2", "3"]
    with beside() as pool:
        with poisoned(wire, organization, "executions", "cost"):
            with wire.locked(organization):
                first = pool.submit(wire.commit, held[4], "4")
                wire.wait_for_lock()
                calls = [pool.submit(wire.commit, *pair) for pair in zip(held, costs, strict=False)]
                time.sleep(2 * QUEUED_S)
            assert first.result()
            assert_internal(calls.pop(1).exception())
            assert all(not call.result().late for call in calls)
            assert decimals(wire.budget(organization))[:2] == (10, 10)
        assert not wire.commit(held[1], "6.66").late


@pytest.mark.parametrize("name", ["Reserve", "SetCap"])
def test_a_lone_poisoned_call(wire: Wire, organization: str, name: str) -> None:
    """It fails as INTERNAL and writes nothing; the next call is served."""
    wire.cap(organization, "100")
    before = wire.counts()
    table, column = ("reservations", "amount") if name == "Reserve" else ("budgets", "cap")
    with poisoned(wire, organization, table, column):
        with pytest.raises(grpc.RpcError) as caught:
            _ = wire.hold(organization, "6.66") if name == "Reserve" else wire.cap(organization, "6.66", campaign("c"))
        assert_internal(caught.value)
        assert wire.counts() == before
        wire.hold(organization, "1")
