"""What do the lists show, page by page?"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from gatekeeper_client.v1 import reservation_pb2 as pb

from .refusals import refusal
from .wire import ORGANIZATION, TIMEOUT_S, Wire, agent, campaign, department, run

SCOPES = ("department", "campaign", "agent", "run")
LISTS = {
    "ListBudgets": (report_pb.ListBudgetsRequest, "budgets"),
    "ListReservations": (report_pb.ListReservationsRequest, "reservations"),
    "ListExecutions": (report_pb.ListExecutionsRequest, "executions"),
}


def page(wire: Wire, name: str, organization: str, **fields: Any) -> Any:
    """Return one page of a list."""
    request, _ = LISTS[name]
    return getattr(wire.reports, name)(request(organization=organization, **fields), timeout=TIMEOUT_S)


def pages(wire: Wire, name: str, organization: str, **fields: Any) -> Iterator[list[Any]]:
    """Yield the entries of every page."""
    token = ""
    while True:
        answer = page(wire, name, organization, page_token=token, **fields)
        yield list(getattr(answer, LISTS[name][1]))
        token = answer.next_page_token
        if not token:
            return


@pytest.fixture
def filled(wire: Wire, organization: str) -> str:
    """Open an organization with seven budgets, reservations and executions."""
    for number in range(6):
        wire.cap(organization, "100", campaign(f"c{number}"))
    for number in range(7):
        held = wire.hold(organization, "1", reservation_id=f"r{number}", campaign=f"c{number % 2}")
        wire.commit(held, "1")
    return organization


@pytest.mark.parametrize("name", LISTS)
def test_pages_are_the_whole(wire: Wire, filled: str, name: str) -> None:
    """Pages of any size hold every entry once and in order, and only the last has no token."""
    (whole,) = pages(wire, name, filled)
    assert len(whole) == 7
    for size in (1, 2, 3, 6, 7, 8, 0, 1000):
        found = list(pages(wire, name, filled, page_size=size))
        assert [entry for entries in found for entry in entries] == whole, size
        assert {len(entries) for entries in found[:-1]} <= {size}
        assert found[-1], size


@pytest.mark.parametrize("name", ["ListReservations", "ListExecutions"])
def test_the_newest_comes_first(wire: Wire, filled: str, name: str) -> None:
    """Reservations and executions come from the newest to the oldest."""
    (whole,) = pages(wire, name, filled)
    assert [entry.reservation_id for entry in whole] == [f"r{number}" for number in reversed(range(7))]


@pytest.mark.parametrize("name", ["ListReservations", "ListExecutions"])
def test_what_is_written_between_pages_moves_nothing(wire: Wire, filled: str, name: str) -> None:
    """A page begins where the last one ended, whatever has come since."""
    found = []
    for entries in pages(wire, name, filled, page_size=2):
        found += [entry.reservation_id for entry in entries]
        wire.commit(wire.hold(filled, "1"), "1")
    assert found == [f"r{number}" for number in reversed(range(7))]


def test_entries_of_one_instant_are_each_listed_once(wire: Wire, organization: str) -> None:
    """Where many share a time, the page breaks between them, and none is lost or doubled."""
    for number in range(7):
        wire.commit(wire.hold(organization, reservation_id=f"r{number}"), "1")
    wire.sql("UPDATE reservations SET created_at = '2026-01-01' WHERE organization = %s", organization)
    with wire.database.transaction():
        wire.sql("SET LOCAL session_replication_role = replica")
        # What was added up already is added up anew.
        for table in ("spend_marks", "spend_rollups"):
            wire.sql(f"DELETE FROM {table} WHERE organization = %s", organization)
        wire.sql("UPDATE executions SET committed_at = '2026-01-01' WHERE organization = %s", organization)
    for name in ("ListReservations", "ListExecutions"):
        found = [e.reservation_id for entries in pages(wire, name, organization, page_size=2) for e in entries]
        assert sorted(found) == [f"r{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("name", "fields"), [("ListBudgets", {"scope_kind": 5}), ("ListReservations", {}), ("ListExecutions", {})]
)
def test_nothing_is_an_empty_page(wire: Wire, organization: str, name: str, fields: dict[str, Any]) -> None:
    """Where there is nothing to list, the only page is empty."""
    wire.cap(organization, "1")
    assert list(pages(wire, name, organization, **fields)) == [[]]


@pytest.mark.parametrize("name", LISTS)
def test_an_unknown_organization(wire: Wire, organization: str, name: str) -> None:
    """NOT_FOUND, and nothing is opened."""
    before = wire.counts()
    refused = refusal(page, wire, name, organization)
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    assert wire.counts() == before


@pytest.mark.parametrize("name", ["ListReservations", "ListExecutions"])
@pytest.mark.parametrize("scope", SCOPES)
def test_every_scope_filters(wire: Wire, organization: str, name: str, scope: str) -> None:
    """Only entries of the asked department, campaign, agent or run are listed, across pages too."""
    for number in range(4):
        for value in ("x", "y"):
            wire.commit(wire.hold(organization, reservation_id=f"{value}{number}", **{scope: value}), "1")
    wire.commit(wire.hold(organization, **{other: "x" for other in SCOPES if other != scope}), "1")
    found = [entry for entries in pages(wire, name, organization, page_size=3, **{scope: "x"}) for entry in entries]
    assert [entry.reservation_id for entry in found] == ["x3", "x2", "x1", "x0"]
    assert list(pages(wire, name, organization, **{scope: "z"})) == [[]]


def test_states_filter(wire: Wire, organization: str) -> None:
    """Reservations are listed by where they are in their life."""
    held, committed, released = (wire.hold(organization) for _ in range(3))
    wire.commit(committed, "1")
    wire.release(released)
    for state, expected in (
        (pb.RESERVATION_STATE_HELD, held),
        (pb.RESERVATION_STATE_COMMITTED, committed),
        (pb.RESERVATION_STATE_RELEASED, released),
    ):
        (entry,) = page(wire, "ListReservations", organization, state=state).reservations
        assert entry.reservation_id == expected.reservation_id
    assert not page(wire, "ListReservations", organization, state=pb.RESERVATION_STATE_EXPIRED).reservations


def test_executions_filter(wire: Wire, organization: str) -> None:
    """Executions are listed by period, model, outcome and kind, and by several of them together."""
    first, second = wire.hold(organization, agent_type="seo"), wire.hold(organization)
    wire.commit(first, usage=pb.TokenUsage(input_tokens=1), outcome=pb.OUTCOME_FAILED)
    wire.commit(second, usage=pb.TokenUsage(model="claude-sonnet-4-5", input_tokens=1))
    both = [first.reservation_id, second.reservation_id]
    for filters, expected in (
        ({"period": first.day}, both),
        ({"period": first.month}, both),
        ({"period": "total"}, both),
        ({"period": "2020-01"}, []),
        ({"period": "2020-01-01"}, []),
        ({"model": "claude-sonnet-4-5"}, both[1:]),
        ({"outcome": pb.OUTCOME_FAILED}, both[:1]),
        ({"outcome": pb.OUTCOME_UNKNOWN}, []),
        ({"kind": pb.EXECUTION_KIND_COMMIT}, both),
        ({"kind": pb.EXECUTION_KIND_REVERSAL}, []),
        ({"outcome": pb.OUTCOME_FAILED, "model": "claude-sonnet-4-5"}, []),
    ):
        assert [entry.reservation_id for entry in wire.executions(organization, **filters)] == expected


def test_budgets_are_listed_with_their_standing(wire: Wire, organization: str) -> None:
    """A budget comes as SetCap answered it, with what was used since; kinds filter."""
    scopes = [ORGANIZATION, department("d"), campaign("a"), campaign("b"), agent("a"), run("r")]
    made = [wire.cap(organization, "5", scope, thresholds=[9], reason="why") for scope in scopes]
    assert list(page(wire, "ListBudgets", organization).budgets) == made
    wire.hold(organization, "1", campaign="a")
    listed = page(wire, "ListBudgets", organization, scope_kind=budget_pb2.SCOPE_KIND_CAMPAIGN).budgets
    standing = [(budget.scope, budget.status.reserved.units) for budget in listed]
    assert standing == [(campaign("a"), 1), (campaign("b"), 0)]
    (own,) = page(wire, "ListBudgets", organization, scope_kind=budget_pb2.SCOPE_KIND_ORGANIZATION).budgets
    assert own.scope == ORGANIZATION


def _token(*parts: object) -> Callable[[str], str]:
    """Return what makes a token of the given place out of a true one."""

    def forge(true: str) -> str:
        digest = json.loads(base64.urlsafe_b64decode(true))[0]
        return base64.urlsafe_b64encode(json.dumps([digest, *parts]).encode()).decode()

    return forge


FORGED: dict[str, Callable[[str], str]] = {
    "garbage": lambda _: "no token!",
    "not base 64": lambda true: true + "*",
    "cut": lambda true: true[:-4],
    "not JSON": lambda _: base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "a number": lambda _: base64.urlsafe_b64encode(b"7").decode(),
    "deep": lambda _: base64.urlsafe_b64encode(b"[" * 700).decode(),
    "too few": _token("x"),
    "too many": _token("x", "x", "x", "x"),
    "numbers": _token(1, 2, 3),
    "no instant": _token("yesterday", "x", "x"),
    "NUL": _token("2026-01-01T00:00:00+00:00", "\0", "\0"),
    "half a character": _token("2026-01-01T00:00:00+00:00", "\ud800", "\ud800"),
    "the end of time": _token("9999-12-31T23:59:59-23:59", "x", "x"),
    "the beginning of time": _token("0001-01-01T00:00:00+23:59", "x", "x"),
    "too long": lambda true: true * 20,
}


@pytest.mark.parametrize("name", LISTS)
def test_a_bad_token_is_refused(wire: Wire, filled: str, name: str) -> None:
    """What the server did not make is INVALID_ARGUMENT on page_token, however like a token it looks."""
    true = page(wire, name, filled, page_size=1).next_page_token
    for bad, forge in FORGED.items():
        refused = refusal(page, wire, name, filled, page_size=1, page_token=forge(true))
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), bad
        assert list(refused.violations) == ["page_token"], bad


@pytest.mark.parametrize("name", LISTS)
def test_a_token_belongs_to_its_request(wire: Wire, filled: str, name: str) -> None:
    """With other filters, another organization or another list it is refused; the page's size may change."""
    token = page(wire, name, filled, page_size=1).next_page_token
    wire.cap(f"{filled}2", "1")
    kind = {"scope_kind": 3} if name == "ListBudgets" else {"campaign": "c0"}
    others = [(name, f"{filled}2", {}), (name, filled, kind)]
    others += [(other, filled, {}) for other in LISTS if other != name]
    for other, organization, fields in others:
        refused = refusal(page, wire, other, organization, page_token=token, **fields)
        assert (refused.code, list(refused.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])
    assert page(wire, name, filled, page_token=token, page_size=5)
