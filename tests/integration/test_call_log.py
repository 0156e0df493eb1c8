"""What does a server log of the calls that it gets?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest

from gatekeeper.domain.access import Role
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report
from tests.contract.secured import Secured
from tests.contract.wire import TIMEOUT_S, until
from tests.integration.observing import Connect, Watch, events

PRIVATE = "a text that nobody needs to know"
POISON = "ALTER TABLE reservations ADD CONSTRAINT poison CHECK (amount <> 6.66) NOT VALID"


def fails(call: Callable[..., Any], *arguments: Any, **fields: Any) -> grpc.StatusCode:
    """Return the status of a call that has no verdict."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **fields)
    code: grpc.StatusCode = caught.value.code()  # type: ignore[attr-defined]
    return code


def test_each_call_has_a_line(watch: Watch, wire_to: Connect) -> None:
    """With what was called, for whom, by whom, what came of it, and how long it took."""
    watched = watch()
    wire = wire_to(watched)
    wire.cap("acme", "10")
    held = wire.hold("acme", "4")
    wire.deny("acme", "7", reservation_id="denied")
    wire.commit(held, "1")
    assert fails(wire.status, "nobody") is grpc.StatusCode.NOT_FOUND
    lines = watched.logged(5)
    assert [(line["rpc"], line["code"], line.get("verdict"), line.get("reason")) for line in lines] == [
        ("SetCap", "OK", None, None),
        ("Reserve", "OK", "ADMITTED", None),
        ("Reserve", "OK", "HEADROOM_HELD", None),
        ("Commit", "OK", None, None),
        ("GetStatus", "NOT_FOUND", None, "ORGANIZATION_NOT_FOUND"),
    ]
    assert [line["organization"] for line in lines] == ["acme"] * 4 + ["nobody"]
    ids = [line.get("reservation_id") for line in lines]
    assert ids == [None, held.reservation_id, "denied", held.reservation_id, None]
    assert {line["caller"] for line in lines} == {"anyone"}
    assert len({line["trace_id"] for line in lines}) == 5
    assert all(0 < line["duration_ms"] < 60_000 for line in lines)
    assert [line["level"] for line in lines] == ["info"] * 4 + ["warning"]


def test_neither_tokens_nor_requests_are_logged(watch: Watch, wire_to: Connect) -> None:
    """Of a request only organization and reservation are, of a token nothing but its name, of an amount nothing."""
    watched = watch(GATEKEEPER_INSECURE="0")
    secured = Secured(wire_to(watched))
    secured.call("SetCap", pb.SetCapRequest(organization="acme", cap=to_money(100)), secured.operator)
    token = secured.token(Role.AGENT, "acme")
    request = pb.ReserveRequest(organization="acme", task=PRIVATE, reservation_id="r", labels={"l": PRIVATE})
    request.amount.CopyFrom(to_money("7.654321987"))
    secured.call("Reserve", request, token)
    assert fails(secured.call, "GetStatus", pb.GetStatusRequest(organization="other"), token)
    wrong = f"{token[:-4]}AAAA"
    assert fails(secured.call, "GetStatus", pb.GetStatusRequest(organization="acme"), wrong)
    until(lambda: len([line for line in watched.calls() if line["rpc"] in {"Reserve", "GetStatus"}]) == 3)
    reserved, foreign, unknown = [line for line in watched.calls() if line["rpc"] in {"Reserve", "GetStatus"}]
    assert reserved["caller"] == foreign["caller"]
    assert reserved["caller"].startswith("agent-")
    assert (foreign["code"], foreign["organization"]) == ("NOT_FOUND", "other")
    assert (unknown["code"], unknown["caller"]) == ("UNAUTHENTICATED", "")
    text = watched.log.read_text()
    for secret in (token, wrong, PRIVATE, "654321987"):
        assert secret not in text


def test_what_is_no_request_has_a_line(watch: Watch, wire_to: Connect) -> None:
    """So have messages that cannot be read, and such whose names are too long to be any."""
    watched = watch()
    wire = wire_to(watched)
    assert fails(wire.send_raw, "/gatekeeper.v1.GatekeeperService/Reserve", b"\xff\xff")
    assert fails(wire.reserve, "x" * 5000, "1") is grpc.StatusCode.INVALID_ARGUMENT
    unreadable, long = watched.logged(2)
    assert (unreadable["organization"], unreadable["reason"]) == ("", "INVALID_FIELD")
    assert long["organization"] == "x" * 128


def test_calls_that_nobody_waits_for(watch: Watch, wire_to: Connect, database_url: str) -> None:
    """A call whose caller has left, or whose deadline has passed, has a line that says so."""
    watched = watch()
    wire = wire_to(watched)
    wire.cap("acme", "10")
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM organizations FOR UPDATE")
        request = pb.ReserveRequest(organization="acme")
        request.amount.units = 1
        left = wire.gatekeeper.Reserve.future(request, timeout=TIMEOUT_S)
        wire.wait_for_lock()
        left.cancel()
        assert fails(wire.gatekeeper.Reserve, request, timeout=0.3) is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: len(watched.calls()) == 3)
    assert {line["code"] for line in watched.calls()} == {"OK", "CANCELLED", "DEADLINE_EXCEEDED"}


def test_streams_that_their_callers_end(watch: Watch, wire_to: Connect) -> None:
    """A stream ends when its caller has seen enough, which is nothing to warn of, nor a failure."""
    watched, terse = watch(), watch(GATEKEEPER_LOG_CALLS="failed")
    for server in (watched, terse):
        wire = wire_to(server)
        wire.cap("acme", "1")
        stream = wire.reports.WatchStatus(report.WatchStatusRequest(organization="acme"))
        next(stream)
        stream.cancel()
        until(lambda server=server: server.scrape().of("gatekeeper_watch_streams") == 0)  # type: ignore[misc]
        assert fails(wire.status, "nobody")
    _, ended, _ = watched.logged(3)
    assert (ended["rpc"], ended["code"], ended["level"]) == ("WatchStatus", "CANCELLED", "info")
    (failed,) = terse.logged(1)
    assert failed["rpc"] == "GetStatus"


def test_only_calls_without_a_verdict(watch: Watch, wire_to: Connect) -> None:
    """Where only those are to be logged, verdicts have no line, denials among them."""
    watched = watch(GATEKEEPER_LOG_CALLS="failed")
    wire = wire_to(watched)
    wire.cap("acme", "1")
    wire.deny("acme", "2")
    assert fails(wire.status, "nobody")
    (line,) = watched.logged(1)
    assert line["code"] == "NOT_FOUND"


@pytest.mark.parametrize("setting", [{"GATEKEEPER_LOG_CALLS": "none"}, {"GATEKEEPER_LOG_LEVEL": "error"}])
def test_no_calls(watch: Watch, wire_to: Connect, setting: dict[str, str]) -> None:
    """Where none is to be logged, or only errors are, none has a line."""
    watched = watch(**setting)
    wire = wire_to(watched)
    wire.hold("acme", "1")
    assert fails(wire.status, "nobody")
    assert watched.server.stop() == 0
    assert watched.calls() == []


def test_the_last_calls_are_logged(watch: Watch, wire_to: Connect) -> None:
    """A server that stops writes down what it has answered until then."""
    watched = watch()
    wire = wire_to(watched)
    for _ in range(50):
        wire.hold("acme", "0.01")
    assert watched.server.stop() == 0
    assert len(watched.calls()) == 50


def test_lines_for_people(watch: Watch, wire_to: Connect) -> None:
    """In the format of terminals, calls are lines to read."""
    watched = watch(GATEKEEPER_LOG_FORMAT="console")
    wire = wire_to(watched)
    wire.hold("acme", "1")
    until(lambda: "call Reserve" in watched.log.read_text())
    (line,) = [text for text in watched.log.read_text().splitlines() if "call Reserve" in text]
    assert "ADMITTED" in line
    assert '"acme"' in line


def test_an_unforeseen_error_is_told_once(watch: Watch, wire_to: Connect) -> None:
    """Its cause is one event, with the trace of the call's line."""
    watched = watch()
    wire = wire_to(watched)
    wire.hold("acme", "1")
    wire.sql(POISON)
    assert fails(wire.reserve, "acme", "6.66") is grpc.StatusCode.INTERNAL
    _, failed = watched.logged(2)
    assert (failed["code"], failed["reason"]) == ("INTERNAL", "INTERNAL")
    (told,) = [event for event in events(watched.log) if event["event"] == "rpc.internal"]
    assert told["trace_id"] == failed["trace_id"]
    assert told["method"] == "Reserve"
    assert "6.66" not in watched.log.read_text()
