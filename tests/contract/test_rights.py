"""Who may call what, and about whose money? Every RPC of the protos, every role, every state of a token."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from gatekeeper.domain.access import Role
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import audit_pb2
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .refusals import refusal
from .requests import SERVICE_OF, send, valid
from .secured import Secured
from .wire import Wire, agent, campaign

Code = grpc.StatusCode
AGENTS, READERS, ADMINS = (
    {Role.AGENT, Role.OPERATOR},
    {Role.VIEWER, Role.ADMIN, Role.OPERATOR},
    {Role.ADMIN, Role.OPERATOR},
)
ALLOWED: dict[str, set[Role]] = {
    "Reserve": AGENTS,
    "Commit": AGENTS,
    "Release": AGENTS | ADMINS,
    "Extend": AGENTS,
    "GetStatus": AGENTS | READERS,
    "SetCap": ADMINS,
    "SetOverride": ADMINS,
    "RequestOverride": AGENTS | ADMINS,
    "ListBudgets": READERS,
    "ListReservations": READERS,
    "ListExecutions": READERS,
    "ListAuditEvents": READERS,
    "ListOverrides": READERS,
    "ListAlerts": READERS,
    "WatchStatus": READERS,
    "CreateToken": ADMINS,
    "ListTokens": ADMINS,
    "RevokeToken": ADMINS,
    "SetPrice": ADMINS,
    "TestAlerts": ADMINS,
    "RetryAlerts": ADMINS,
    "GetSpendSummary": READERS,
    "ListCampaignSpend": READERS,
    "ListDepartmentSpend": READERS,
    "ListAgentSpend": READERS,
    "ListModelSpend": READERS,
    "GetAttributedSpend": READERS,
    "GetStatement": READERS,
    "GetMonthlyReport": READERS,
    "ListInvoices": READERS,
    "ListOrganizations": READERS,
    "ExportInvoice": ADMINS,
    "GetBillingProfile": ADMINS,
    "SetBillingProfile": ADMINS,
    "CreditInvoice": ADMINS,
}
STATES = {
    "expired": "TOKEN_EXPIRED",
    "revoked": "TOKEN_REVOKED",
    "missing": "TOKEN_MISSING",
    "unknown": "TOKEN_INVALID",
    "malformed": "TOKEN_INVALID",
}
MALFORMED = ("Bearer abc", "Bearer", "Basic Z2s6Z2s=", "", "Bearer gk_" + "ä" * 43)
OURS, THEIRS = "ours", "theirs"


@pytest.fixture(scope="session")
def callers(secured: Secured) -> dict[tuple[Role, str], str]:
    """Return the secrets of callers by role and state."""
    for organization in (OURS, THEIRS):
        secured.call("SetCap", _of(valid("SetCap"), organization), secured.operator)
    made: dict[tuple[Role, str], str] = {}
    for role in Role:
        organization = "" if role is Role.OPERATOR else OURS
        made[role, "valid"] = secured.token(role, organization, name=f"{role}-valid")
        made[role, "expired"] = secured.ended_token(role, organization, "expires_at")
        made[role, "revoked"] = secured.ended_token(role, organization, "revoked_at")
    return made


def test_every_rpc_of_the_protos_is_in_the_matrix() -> None:
    """No RPC is left out of the tests below."""
    assert set(SERVICE_OF) == set(ALLOWED)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("rpc", SERVICE_OF)
def test_a_role_may_call_what_it_is_for_in_its_own_organization(
    secured: Secured, callers: dict[tuple[Role, str], str], rpc: str, role: Role
) -> None:
    """With the right it is answered; without, it is PERMISSION_DENIED, and told which roles have it."""
    request = prepared(secured, rpc, OURS)
    if role in ALLOWED[rpc]:
        assert secured.call(rpc, request, callers[role, "valid"])
        return
    refused = refusal(secured.call, rpc, request, callers[role, "valid"])
    assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "ROLE_INSUFFICIENT")
    assert set(refused.metadata["roles"].split(", ")) == {allowed.lower() for allowed in ALLOWED[rpc]}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("rpc", SERVICE_OF)
def test_only_operators_reach_other_organizations(
    secured: Secured, callers: dict[tuple[Role, str], str], rpc: str, role: Role
) -> None:
    """To everybody else another organization is like one that there is not: the same status, the same words."""
    request = prepared(secured, rpc, THEIRS)
    if role is Role.OPERATOR:
        assert secured.call(rpc, request, callers[role, "valid"])
        return
    refused = refusal(secured.call, rpc, request, callers[role, "valid"])
    absent = refusal(secured.call, rpc, _of(request, "absent"), callers[role, "valid"])
    assert refused.message.replace(THEIRS, "absent") == absent.message
    expected = (Code.NOT_FOUND, "ORGANIZATION_NOT_FOUND")
    if role not in ALLOWED[rpc]:
        expected = (Code.PERMISSION_DENIED, "ROLE_INSUFFICIENT")
    assert (refused.code, refused.reason) == (absent.code, absent.reason) == expected


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("rpc", SERVICE_OF)
def test_without_a_valid_token_nothing_is_answered(
    secured: Secured, callers: dict[tuple[Role, str], str], rpc: str, role: Role, state: str
) -> None:
    """Whatever the role and the organization, it is UNAUTHENTICATED, says why, and nothing is written."""
    for organization in (OURS, THEIRS):
        request = prepared(secured, rpc, organization)
        before = secured.wire.counts()
        for metadata in _metadata(callers, role, state):
            refused = refusal(secured.call_with, rpc, request, metadata)
            assert (refused.code, refused.reason) == (Code.UNAUTHENTICATED, STATES[state])
            assert refused.retry_delay_s is None
        assert secured.wire.counts() == before


@pytest.mark.parametrize("rpc", SERVICE_OF)
def test_a_token_comes_before_the_request(secured: Secured, rpc: str) -> None:
    """Without a token, a request that breaks every rule is UNAUTHENTICATED all the same: it tells nothing."""
    request = prepared(secured, rpc, "\n" * 200)
    assert refusal(secured.call, rpc, request).reason == "TOKEN_MISSING"


@pytest.mark.parametrize("rpc", ["Commit", "Release", "Extend"])
def test_a_reservation_of_another_organization_is_not_there(
    secured: Secured, callers: dict[tuple[Role, str], str], rpc: str
) -> None:
    """Asked for by its id alone, it is NOT_FOUND, in the words for an id that nobody has; and it stands."""
    request = prepared(secured, rpc, THEIRS)
    request.ClearField("organization")
    refused = refusal(secured.call, rpc, request, callers[Role.AGENT, "valid"])
    unknown = type(request).FromString(request.SerializeToString())
    unknown.reservation_id = "nobodys"
    absent = refusal(secured.call, rpc, unknown, callers[Role.AGENT, "valid"])
    assert (refused.code, refused.reason) == (absent.code, absent.reason) == (Code.NOT_FOUND, "RESERVATION_NOT_FOUND")
    assert refused.message.replace(request.reservation_id, "nobodys") == absent.message
    held = secured.wire.sql("SELECT state FROM reservations WHERE reservation_id = %s", request.reservation_id)
    assert held == [("HELD",)]


@pytest.mark.parametrize("rpc", ["Commit", "Release", "Extend"])
def test_a_reservation_is_found_without_naming_the_organization(secured: Secured, rpc: str) -> None:
    """A token is for one organization, which the request need not repeat."""
    request = prepared(secured, rpc, OURS)
    request.ClearField("organization")
    answer = secured.call(rpc, request, secured.token(Role.AGENT, OURS))
    assert answer.reservation.organization == OURS


NARROW = {"campaign": campaign("launch"), "agent": agent("writer")}


@pytest.mark.parametrize("field", NARROW)
def test_a_narrowed_token_reserves_for_its_scope_only(secured: Secured, field: str) -> None:
    """Another campaign or agent, or none, is PERMISSION_DENIED, and told what to set."""
    token = secured.token(Role.AGENT, OURS, scope=NARROW[field])
    mine = {field: NARROW[field].id}
    assert secured.call("Reserve", reserve(**mine), token).HasField("reservation")
    for other in ({field: "other"}, {}):
        refused = refusal(secured.call, "Reserve", reserve(**other), token)
        assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "OUT_OF_SCOPE")
        assert (refused.metadata["field"], refused.metadata["id"]) == (field, NARROW[field].id)


@pytest.mark.parametrize("rpc", ["Commit", "Release", "Extend"])
def test_a_narrowed_token_does_not_see_reservations_of_others(secured: Secured, rpc: str) -> None:
    """A reservation of another campaign is NOT_FOUND to it, by id and organization; one of its own is answered."""
    token = secured.token(Role.AGENT, OURS, scope=NARROW["campaign"])
    refused = refusal(secured.call, rpc, prepared(secured, rpc, OURS), token)
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "RESERVATION_NOT_FOUND")
    assert secured.call(rpc, prepared(secured, rpc, OURS, campaign="launch"), token)


def test_a_narrowed_token_sees_the_status_of_its_scope(secured: Secured) -> None:
    """It gets its own budgets and the organization's; asked for another scope, it is PERMISSION_DENIED."""
    organization = f"seen-{uuid.uuid4().hex}"
    for name in ("launch", "secret"):
        secured.call("SetCap", _of(_scoped(valid("SetCap"), campaign(name)), organization), secured.operator)
    token = secured.token(Role.AGENT, organization, scope=NARROW["campaign"])
    answer = secured.call("GetStatus", pb.GetStatusRequest(organization=organization), token)
    assert {status.scope.id for status in answer.budgets} == {"", "launch"}
    secret = pb.GetStatusRequest(organization=organization, scopes=[campaign("secret")])
    refused = refusal(secured.call, "GetStatus", secret, token)
    assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "OUT_OF_SCOPE")


def test_an_admin_makes_no_operator(secured: Secured, callers: dict[tuple[Role, str], str]) -> None:
    """Nobody gives a right that they have not."""
    request = admin_pb.CreateTokenRequest(name="boss", role=admin_pb.ROLE_OPERATOR)
    refused = refusal(secured.call, "CreateToken", request, callers[Role.ADMIN, "valid"])
    assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "ROLE_INSUFFICIENT")


def test_only_operators_give_roles_to_identities(secured: Secured, callers: dict[tuple[Role, str], str]) -> None:
    """A certificate or Unix user is one for the whole installation: no admin may take it for its organization."""
    request = admin_pb.CreateTokenRequest(organization=OURS, name="n", role=admin_pb.ROLE_AGENT, identity="uid=0")
    refused = refusal(secured.call, "CreateToken", request, callers[Role.ADMIN, "valid"])
    assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "ROLE_INSUFFICIENT")


@pytest.mark.parametrize("rpc", ["CreateToken", "RevokeToken"])
def test_nobody_unknown_decides_who_is_known(wire: Wire, rpc: str) -> None:
    """A server that asks for no tokens makes and ends none: they would outlive it."""
    refused = refusal(send, wire, rpc, valid(rpc))
    assert (refused.code, refused.reason) == (Code.UNAUTHENTICATED, "TOKEN_MISSING")


def test_no_role_is_exempt_from_a_budget(secured: Secured) -> None:
    """An operator's call above the cap is denied like everybody's."""
    organization = f"poor-{uuid.uuid4().hex}"
    cap = _of(valid("SetCap"), organization)
    cap.ClearField("scope")
    secured.call("SetCap", cap, secured.operator)
    request = _of(reserve(), organization)
    assert secured.call("Reserve", request, secured.operator).HasField("reservation")
    assert secured.call("Reserve", request, secured.operator).HasField("denial")


def test_health_and_reflection_need_no_token(secured: Secured) -> None:
    """Whoever balances load and whoever explores the API learn nothing that is not public."""
    assert secured.wire.health() == health_pb2.HealthCheckResponse.SERVING


def prepared(secured: Secured, rpc: str, organization: str, **attribution: str) -> Any:
    """Return a valid request about an organization, with what it needs to be answered with OK."""
    request = _of(valid(rpc), organization)
    make = PREPARE.get(rpc)
    if make is not None and organization in (OURS, THEIRS):
        make(secured, request, attribution)
    return request


def _hold(secured: Secured, request: Any, attribution: dict[str, str]) -> None:
    answer = secured.call("Reserve", _of(reserve(**attribution), request.organization), secured.operator)
    request.reservation_id = answer.reservation.reservation_id


def _fresh_name(_secured: Secured, request: Any, _attribution: dict[str, str]) -> None:
    request.name = uuid.uuid4().hex
    request.ClearField("identity")


def _token(secured: Secured, request: Any, _attribution: dict[str, str]) -> None:
    new = admin_pb.CreateTokenRequest(
        organization=request.organization, name=uuid.uuid4().hex, role=admin_pb.ROLE_VIEWER
    )
    request.token = secured.call("CreateToken", new, secured.operator).token.token_id


def _fresh_id(_secured: Secured, request: Any, _attribution: dict[str, str]) -> None:
    request.reservation_id = uuid.uuid4().hex


def _later(secured: Secured, request: Any, _attribution: dict[str, str]) -> None:
    secured.wire.test_later(request.organization)


def _invoice(secured: Secured, request: Any, _attribution: dict[str, str]) -> None:
    asked = pb.ExportInvoiceRequest(organization=request.organization, period="2020-01")
    request.number = secured.call("ExportInvoice", asked, secured.operator).invoice.number


PREPARE: dict[str, Callable[[Secured, Any, dict[str, str]], None]] = {
    "Reserve": _fresh_id,
    "Commit": _hold,
    "Release": _hold,
    "Extend": _hold,
    "CreateToken": _fresh_name,
    "RevokeToken": _token,
    "TestAlerts": _later,
    "CreditInvoice": _invoice,
}


def reserve(**attribution: Any) -> pb.ReserveRequest:
    """Return a request to hold a dollar of ours."""
    return pb.ReserveRequest(organization=OURS, amount=to_money(1, "USD"), **attribution)


def _of(request: Message, organization: str) -> Any:
    mine: Any = type(request).FromString(request.SerializeToString())
    mine.organization = organization
    return mine


def _scoped(request: Any, scope: Any) -> Any:
    request.scope.CopyFrom(scope)
    return request


def _metadata(callers: dict[tuple[Role, str], str], role: Role, state: str) -> list[tuple[tuple[str, str], ...]]:
    """Return the metadata of calls with a token in this state."""
    if state == "missing":
        return [()]
    if state == "unknown":
        return [(("authorization", "Bearer gk_" + "A" * 43),)]
    if state == "malformed":
        valid_one = ("authorization", f"Bearer {callers[role, 'valid']}")
        return [*((("authorization", text),) for text in MALFORMED if text.isascii()), (valid_one, valid_one)]
    return [(("authorization", f"Bearer {callers[role, state]}"),)]


def test_who_releases_the_hold_of_another_is_written_down(
    secured: Secured, callers: dict[tuple[Role, str], str]
) -> None:
    """With who, what was held by whom, and why; who releases a hold of its own is not."""
    admin, holder = callers[Role.ADMIN, "valid"], secured.token(Role.AGENT, OURS)
    for token in (holder, admin):
        held = secured.call("Reserve", reserve(), holder).reservation
        request = pb.ReleaseRequest(reservation_id=held.reservation_id, reason="its pod is gone")
        secured.call("Release", request, token)
    asked = report_pb.ListAuditEventsRequest(action=audit_pb2.AUDIT_ACTION_RESERVATION_RELEASED, page_size=1)
    (event,) = secured.call("ListAuditEvents", asked, admin).audit_events
    assert (event.subject, event.reason) == (f"reservation '{held.reservation_id}'", "its pod is gone")
    assert (event.actor, event.actor_role) == ("ADMIN-valid", "ADMIN")
    found = secured.wire.sql("SELECT ended_by, caller FROM reservations WHERE reservation_id = %s", held.reservation_id)
    assert found[0][0].startswith(f"{event.actor_token_id}@")
    assert event.before_json == json.dumps(
        {"amount": "1.00", "caller": found[0][1], "owner": held_owner(secured, held), "state": "HELD"},
        separators=(",", ":"),
    )


def held_owner(secured: Secured, held: Any) -> str:
    """Return which process made a reservation."""
    found = secured.wire.sql("SELECT owner FROM reservations WHERE reservation_id = %s", held.reservation_id)
    return str(found[0][0])
