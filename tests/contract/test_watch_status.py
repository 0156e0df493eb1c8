"""What does somebody see who watches an organization's budgets?"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper.domain.access import Role
from gatekeeper.services.watch import INTERVAL_S
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .conftest import Clock
from .refusals import refusal, refusal_of
from .secured import Secured
from .watching import key_of, watching
from .wire import ORGANIZATION, Wire, campaign, first_of, run

Code = grpc.StatusCode


def test_a_snapshot_comes_first(wire: Wire, organization: str) -> None:
    """All budgets as GetStatus shows them, the organization's first, with the time by the database's clock."""
    wire.cap(organization, "100")
    wire.cap(organization, "10", campaign("launch"))
    wire.cap(organization, "5", campaign("launch"), window=budget_pb2.BUDGET_WINDOW_DAY)
    wire.hold(organization, "3", campaign="launch")
    with watching(wire, organization) as screen:
        (snapshot,) = screen.messages
        assert list(snapshot.budgets) == list(wire.status(organization).budgets)
        assert snapshot.budgets[0].scope == ORGANIZATION
        assert not snapshot.overrides
        ((now,),) = wire.sql("SELECT clock_timestamp()")
        assert timedelta(0) < now - snapshot.read_time.ToDatetime(now.tzinfo) < timedelta(minutes=1)


def test_then_comes_what_changes(wire: Wire, organization: str) -> None:
    """A hold is seen in each of its budgets, a new cap appears, and what has not changed is not sent again."""
    for name in ("launch", "other"):
        wire.cap(organization, "50", campaign(name))
    with watching(wire, organization) as screen:
        held = wire.hold(organization, "3", campaign="launch")
        screen.until(lambda: from_money(screen.of(ORGANIZATION).reserved) == 3)
        assert from_money(screen.of(campaign("launch")).reserved) == 3
        wire.commit(held, "2")
        screen.until(lambda: from_money(screen.of(campaign("launch")).spent) == 2)
        wire.cap(organization, "1", run("r"), window=budget_pb2.BUDGET_WINDOW_TOTAL)
        screen.until(lambda: len(screen.budgets) == 4)
        _, *deltas = screen.messages
        assert not any(delta.snapshot for delta in deltas)
        sent = [status.scope.id for delta in deltas for status in delta.budgets]
        assert ("other" in sent, "r" in sent) == (False, True)
        assert screen.budgets == {key_of(status): status for status in wire.status(organization).budgets}


def test_every_kind_of_change_is_seen(wire: Wire, organization: str) -> None:
    """Caps, freezing, releases and holds that end by themselves."""
    wire.cap(organization, "100")
    with watching(wire, organization) as screen:
        wire.cap(organization, "90")
        screen.until(lambda: from_money(screen.of(ORGANIZATION).cap) == 90)
        held = wire.hold(organization, "3")
        screen.until(lambda: from_money(screen.of(ORGANIZATION).available) == 87)
        wire.release(held)
        screen.until(lambda: from_money(screen.of(ORGANIZATION).available) == 90)
        wire.hold(organization, "4", ttl=timedelta(seconds=1))
        screen.until(lambda: from_money(screen.of(ORGANIZATION).reserved) == 4)
        screen.until(lambda: from_money(screen.of(ORGANIZATION).reserved) == 0)
        wire.cap(organization, None, frozen=True)
        screen.until(lambda: screen.of(ORGANIZATION).frozen)


def test_overrides_in_force_are_in_every_message(wire: Wire, organization: str) -> None:
    """One that is turned on appears, what it pays is shown, and once it is turned off, or over, it is gone."""
    wire.cap(organization, "10")
    turned_on = pb.SetOverrideRequest(
        organization=organization, enabled=True, max_amount=to_money(5), reason="a launch", ttl=Duration(seconds=3600)
    )
    with watching(wire, organization) as screen:
        override = wire.gatekeeper.SetOverride(turned_on).override
        screen.until(lambda: screen.overrides == [override.override_id])
        wire.hold(organization, "12")
        screen.until(lambda: from_money(screen.of(ORGANIZATION).overridden) == 2)
        assert from_money(screen.messages[-1].overrides[0].reserved) == 2
        turned_off = pb.SetOverrideRequest(organization=organization, override_id=override.override_id, reason="done")
        wire.gatekeeper.SetOverride(turned_off)
        screen.until(lambda: not screen.overrides)
        turned_on.ttl.seconds = 1
        wire.gatekeeper.SetOverride(turned_on)
        screen.until(lambda: screen.overrides)
        screen.until(lambda: not screen.overrides)


def test_a_new_period_is_seen(clock: Clock) -> None:
    """At midnight the budgets of the new period take the place of the old ones, though nobody calls."""
    wire, organization = clock.wire, f"midnight-{clock.year}"
    clock.set("01-31T23:59:59+00:00")
    wire.cap(organization, "100")
    wire.hold(organization, "3", ttl=timedelta(hours=1))
    with watching(wire, organization) as screen:
        assert screen.of(ORGANIZATION).period == f"{clock.year}-01"
        clock.set("02-01T00:00:00+00:00")
        screen.until(lambda: screen.of(ORGANIZATION).period == f"{clock.year}-02")
        assert from_money(screen.of(ORGANIZATION).reserved) == 0
        assert len(screen.budgets) == 1


def test_many_changes_are_few_messages(wire: Wire, organization: str) -> None:
    """However many changes there are, no more than four messages a second come; the last tells how it ended."""
    wire.cap(organization, "5000")
    with watching(wire, organization) as screen, ThreadPoolExecutor(32) as callers:
        began_s = time.monotonic()
        held = [*callers.map(lambda _: wire.hold(organization, "1"), range(1000))]
        screen.until(lambda: from_money(screen.of(ORGANIZATION).reserved) == len(held))
        took_s = time.monotonic() - began_s
        times = [message.read_time.ToMilliseconds() / 1000 for message in screen.messages]
    _, *deltas = screen.messages
    assert len(deltas) <= took_s / INTERVAL_S + 1
    assert all(later - earlier >= INTERVAL_S for earlier, later in pairwise(times))


def test_an_unknown_organization(wire: Wire, organization: str) -> None:
    """It is NOT_FOUND, and none is opened by asking."""
    request = report_pb.WatchStatusRequest(organization=organization)
    before = wire.counts()
    refused = refusal(lambda: first_of(wire.reports.WatchStatus(request)))
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    assert refused.metadata == {"organization": organization}
    assert wire.counts() == before


@pytest.mark.parametrize(("column", "reason"), [("revoked_at", "TOKEN_REVOKED"), ("expires_at", "TOKEN_EXPIRED")])
def test_a_token_that_ends_takes_streams_along(secured: Secured, organization: str, column: str, reason: str) -> None:
    """Revoked or expired, the stream ends with its error, though nothing changes; those of others go on."""
    wire = secured.wire
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1, "USD")), secured.operator)
    name, other = uuid.uuid4().hex, secured.token(Role.VIEWER, organization)
    token = secured.token(Role.VIEWER, organization, name=name)
    with (
        watching(wire, organization, metadata=bearer(token)) as screen,
        watching(wire, organization, metadata=bearer(other)) as others,
    ):
        secured.end(name, column)
        with pytest.raises(grpc.RpcError) as ended:
            screen.until(lambda: False)
        refused = refusal_of(ended.value)
        assert (refused.code, refused.reason) == (Code.UNAUTHENTICATED, reason)
        secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(2, "USD")), secured.operator)
        others.until(lambda: from_money(others.of(ORGANIZATION).cap) == 2)


def test_a_token_that_expires_under_a_stream(secured: Secured, organization: str) -> None:
    """Its time is over by the clock; nobody has to end it."""
    secured.call("SetCap", pb.SetCapRequest(organization=organization, cap=to_money(1, "USD")), secured.operator)
    token = secured.token(Role.VIEWER, organization, expire_time=Timestamp(seconds=int(time.time()) + 3))
    with watching(secured.wire, organization, metadata=bearer(token)) as screen:
        with pytest.raises(grpc.RpcError) as ended:
            screen.until(lambda: False)
        assert refusal_of(ended.value).reason == "TOKEN_EXPIRED"


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with a token."""
    return (("authorization", f"Bearer {token}"),)
