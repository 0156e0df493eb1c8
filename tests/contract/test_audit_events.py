"""What does the audit trail tell over the wire? Every change and every denial, newest first, page by page."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper.domain.access import Role
from gatekeeper.storage import audit
from gatekeeper_client import AsyncClient, Client, fields
from gatekeeper_client.v1 import audit_pb2
from gatekeeper_client.v1 import report_service_pb2 as pb
from tests.integration.trails import KEYLESS, NOON, connected, denial, deny, event

from .refusals import refusal
from .secured import Secured
from .wire import TIMEOUT_S, Wire, campaign, until

BUDGET_SET = audit_pb2.AUDIT_ACTION_BUDGET_SET
CALL_DENIED = audit_pb2.AUDIT_ACTION_CALL_DENIED


def page(wire: Wire, organization: str, **fields: Any) -> pb.ListAuditEventsResponse:
    """Return one page of the trail."""
    return wire.reports.ListAuditEvents(
        pb.ListAuditEventsRequest(organization=organization, **fields), timeout=TIMEOUT_S
    )


def trail(wire: Wire, organization: str, **fields: Any) -> Iterator[audit_pb2.AuditEvent]:
    """Yield the entries of every page."""
    token = ""
    while True:
        answer = page(wire, organization, page_token=token, **fields)
        yield from answer.audit_events
        token = answer.next_page_token
        if not token:
            return


def chained(wire: Wire, organization: str) -> list[audit_pb2.AuditEvent]:
    """Return the whole trail once each entry has its link."""
    until(lambda: all(entry.sequence for entry in trail(wire, organization)))
    return list(trail(wire, organization))


def identity(event: audit_pb2.AuditEvent) -> str:
    return event.event_id


@pytest.fixture
def filled(wire: Wire, organization: str) -> str:
    """Open an organization with three changes of a budget, and two denials between them."""
    wire.cap(organization, "5", campaign("spring"), reason="a beginning")
    wire.deny(organization, "7", reservation_id="r1", campaign="spring", agent="writer")
    wire.cap(organization, "6", campaign("spring"), reason="it sells")
    wire.deny(organization, "8.5", reservation_id="r2", campaign="spring")
    wire.cap(organization, scope=campaign("spring"), frozen=True, reason="stop")
    return organization


def test_changes_and_denials_are_one_trail(wire: Wire, filled: str) -> None:
    """Each change and denial is there, the newest first, with its place in the chain, counted from the oldest."""
    events = chained(wire, filled)
    actions = [audit_pb2.AuditAction.Name(event.action).removeprefix("AUDIT_ACTION_") for event in events]
    assert actions == [
        "BUDGET_FROZEN",
        "CALL_DENIED",
        "BUDGET_SET",
        "CALL_DENIED",
        *actions[4:],
    ]
    assert set(actions[4:]) <= {"BUDGET_SET", "ORGANIZATION_OPENED"}
    assert [event.sequence for event in events] == list(range(len(events), 0, -1))
    assert all(len(bytes.fromhex(event.link)) == 32 for event in events)
    assert {event.organization for event in events} == {filled}
    assert len({event.event_id for event in events}) == len(events)


def test_a_change_tells_before_and_after(wire: Wire, filled: str) -> None:
    """A change tells who made it, from where, to what, what was before and is after, and why."""
    second = chained(wire, filled)[2]
    newest = page(wire, filled, action=BUDGET_SET, page_size=1)
    (event,) = newest.audit_events
    assert event == second
    assert (event.actor, event.reason) == ("anyone", "it sells")
    assert event.peer.startswith(("ipv4:", "ipv6:"))
    assert "campaign 'spring'" in event.subject
    before, after = json.loads(event.before_json), json.loads(event.after_json)
    assert (before["cap"], after["cap"]) == ("5.00", "6.00")


def test_a_denial_tells_why(wire: Wire, filled: str) -> None:
    """A denial tells what was asked, for what, and which budget stood in the way."""
    event = list(trail(wire, filled, action=CALL_DENIED))[-1]
    assert event.event_id.startswith("denial-")
    assert (event.subject, event.before_json, event.reason, event.actor) == ("reservation 'r1'", "", "", "anyone")
    after = json.loads(event.after_json)
    budget = after.pop("budget")
    assert budget.startswith("campaign 'spring', month 2")
    assert after == {
        "reason": "OUT_OF_BUDGET",
        "requested": "7.00",
        "shortfall": "2.00",
        "campaign": "spring",
        "agent": "writer",
    }


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_are_the_whole(wire: Wire, filled: str, size: int) -> None:
    """Pages of any size hold every entry once, in order of time."""
    whole = page(wire, filled, page_size=1000).audit_events
    entries = list(trail(wire, filled, page_size=size))
    assert [identity(event) for event in entries] == [identity(event) for event in whole]
    assert len({identity(event) for event in entries}) == len(entries)
    times = [event.event_time.ToNanoseconds() for event in entries]
    assert times == sorted(times, reverse=True)


def test_pages_within_one_instant(wire: Wire, organization: str) -> None:
    """Entries of the same instant are told apart by what they are and by number, also across pages."""
    wire.open(organization)

    async def write() -> None:
        async with connected(wire.database_url) as connection:
            for _ in range(3):
                await audit.write_event(connection, organization, event(occurred_at=NOON), KEYLESS)
            await deny(connection, organization, [denial(denied_at=NOON)] * 3, KEYLESS)

    asyncio.run(write())
    noon = Timestamp(seconds=int(NOON.timestamp()))
    after_noon = Timestamp(seconds=noon.seconds + 1)
    for size in (1, 2, 4, 100):
        entries = list(trail(wire, organization, page_size=size, start_time=noon, end_time=after_noon))
        assert [identity(event).partition("-")[0] for event in entries] == ["event"] * 3 + ["denial"] * 3
        assert len({identity(event) for event in entries}) == 6


def test_unknown_action(wire: Wire, filled: str) -> None:
    """An entry of a kind that this version does not know is listed as such, and hides no other."""
    whole = list(trail(wire, filled))

    async def write() -> None:
        async with connected(wire.database_url) as connection:
            written = event(action="OUTER_SPACE", subject="far", occurred_at=datetime.now(UTC))
            await audit.write_event(connection, filled, written, KEYLESS)

    asyncio.run(write())
    unknown, *others = trail(wire, filled)
    assert (unknown.action, unknown.subject) == (audit_pb2.AUDIT_ACTION_UNSPECIFIED, "far")
    assert [identity(entry) for entry in others] == [identity(entry) for entry in whole]


def test_filters(wire: Wire, filled: str) -> None:
    """Filters take an action, an actor, and a span of time that ends before its end."""
    whole = chained(wire, filled)
    for action in {entry.action for entry in whole}:
        assert list(trail(wire, filled, action=action)) == [entry for entry in whole if entry.action == action]
    assert list(trail(wire, filled, action=audit_pb2.AUDIT_ACTION_TOKEN_REVOKED)) == []
    assert list(trail(wire, filled, actor="anyone", page_size=2)) == [e for e in whole if e.actor == "anyone"]
    assert list(trail(wire, filled, actor="nobody")) == []
    first, last = whole[3].event_time, whole[1].event_time
    assert list(trail(wire, filled, start_time=first, end_time=last, page_size=1)) == whole[2:4]


def test_tokens_belong_to_their_request(wire: Wire, filled: str) -> None:
    """A page token is refused with other fields, or where nobody made it."""
    token = page(wire, filled, page_size=1).next_page_token
    changed = pb.ListAuditEventsRequest(organization=filled, page_token=token, action=CALL_DENIED)
    assert refusal(wire.reports.ListAuditEvents, changed, timeout=TIMEOUT_S).violations == {
        "page_token": "belongs to a request with other fields; begin anew"
    }
    digest, instant, source, number = json.loads(base64.b64decode(token, altchars=b"-_"))
    for parts in (
        [instant, "OTHER", number],
        [instant, source, "x"],
        [instant, source, "9" * 30],
        ["noon", source, number],
        [instant, source],
    ):
        forged = base64.urlsafe_b64encode(json.dumps([digest, *parts]).encode()).decode()
        request = pb.ListAuditEventsRequest(organization=filled, page_token=forged)
        refused = refusal(wire.reports.ListAuditEvents, request, timeout=TIMEOUT_S)
        assert refused.violations == {"page_token": "is not one that this server made"}


@pytest.mark.parametrize("field", ["start_time", "end_time"])
@pytest.mark.parametrize("seconds", [-(10**18), 10**18, 253_402_300_800])
def test_times_beyond_the_calendar(wire: Wire, filled: str, field: str, seconds: int) -> None:
    """A time that no calendar has is a malformed field."""
    request = pb.ListAuditEventsRequest(organization=filled, **{field: Timestamp(seconds=seconds)})  # type: ignore[arg-type]
    refused = refusal(wire.reports.ListAuditEvents, request, timeout=TIMEOUT_S)
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [*refused.violations] == [field]


def test_unknown_organization(wire: Wire, organization: str) -> None:
    """An organization that is not open and has no trail is not found."""
    request = pb.ListAuditEventsRequest(organization=organization)
    assert refusal(wire.reports.ListAuditEvents, request, timeout=TIMEOUT_S).code is grpc.StatusCode.NOT_FOUND


def test_the_installation_has_a_trail(secured: Secured) -> None:
    """What concerns the whole installation, such as operators' tokens, is listed for an empty organization."""
    secured.token(Role.OPERATOR)
    request = pb.ListAuditEventsRequest(action=audit_pb2.AUDIT_ACTION_TOKEN_CREATED)
    events = secured.call("ListAuditEvents", request, secured.operator).audit_events
    assert {event.organization for event in events} == {""}
    assert "operator" in events[0].actor


def test_no_secret_in_the_trail(secured: Secured, organization: str) -> None:
    """Nothing in the trail of a token would let anybody call with it."""
    secret = secured.token(Role.ADMIN, organization)
    request = pb.ListAuditEventsRequest(organization=organization)
    told = str(secured.call("ListAuditEvents", request, secret).audit_events)
    assert "TOKEN_CREATED" in told
    assert secret not in told
    assert secret.removeprefix("gk_") not in told


def test_both_clients_list(wire: Wire, filled: str) -> None:
    """Both faces of the client iterate over all pages, by action's name and instants with a time zone."""
    which: fields.AuditEvents = {
        "action": "BUDGET_SET",
        "start_time": NOON,
        "end_time": datetime.now(UTC) + timedelta(days=1),
        "page_size": 1,
    }

    async def listed() -> list[audit_pb2.AuditEvent]:
        async with AsyncClient(wire.address) as client:
            return [entry async for entry in client.list_audit_events(filled, **which)]

    expected = [entry for entry in chained(wire, filled) if entry.action == BUDGET_SET]
    assert len(expected) == 2
    assert asyncio.run(listed()) == expected
    with Client(wire.address) as client:
        assert list(client.list_audit_events(filled, **which)) == expected
        with pytest.raises(ValueError, match="no time zone"):
            client.list_audit_events(filled, start_time=NOON.replace(tzinfo=None))
