"""Do admins make, list and end tokens, and set prices, over the wire as promised?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gatekeeper.domain.access import Role
from gatekeeper.domain.tokens import is_token
from gatekeeper_client.money import from_money, to_money
from gatekeeper_client.v1 import admin_service_pb2 as pb
from gatekeeper_client.v1 import budget_pb2, reservation_pb2
from gatekeeper_client.v1 import gatekeeper_service_pb2 as gate_pb

from .refusals import Refusal, refusal
from .secured import Secured
from .wire import agent, campaign, department, until

Code = grpc.StatusCode


class Admin:
    """An admin of an organization that is open."""

    def __init__(self, secured: Secured, organization: str) -> None:
        self.secured = secured
        self.organization = organization
        cap = gate_pb.SetCapRequest(organization=organization, cap=to_money(100))
        secured.call("SetCap", cap, secured.operator)
        self.token = secured.token(Role.ADMIN, organization)

    def call(self, rpc: str, bearer: str = "", /, **fields: Any) -> Any:
        """Call as the admin, or the bearer of another token, about the organization unless told otherwise."""
        request = getattr(pb, f"{rpc}Request")(**({"organization": self.organization} | fields))
        return self.secured.call(rpc, request, bearer or self.token)

    def create(self, name: str, role: Any = pb.ROLE_AGENT, **fields: Any) -> pb.CreateTokenResponse:
        """Make a token."""
        answer: pb.CreateTokenResponse = self.call("CreateToken", name=name, role=role, **fields)
        return answer

    def refused(self, rpc: str, bearer: str = "", /, **fields: Any) -> Refusal:
        """Make a call that must be refused."""
        return refusal(self.call, rpc, bearer, **fields)

    def status(self, token: str) -> str:
        """Return why the bearer of a token may not read the organization's status; empty where it may."""
        request = gate_pb.GetStatusRequest(organization=self.organization)
        try:
            self.secured.call("GetStatus", request, token)
        except grpc.RpcError:
            return refusal(self.secured.call, "GetStatus", request, token).reason
        return ""


@pytest.fixture
def admin(secured: Secured, organization: str) -> Admin:
    """Open an organization with an admin."""
    return Admin(secured, organization)


def wire_time(instant: datetime) -> Timestamp:
    """Return an instant as it travels."""
    written = Timestamp()
    written.FromDatetime(instant)
    return written


def test_a_token_works_at_once(admin: Admin) -> None:
    """The answer has all of it and, this once, its secret; the very next call can show it."""
    expires = wire_time(datetime.now(UTC) + timedelta(days=1))
    made = admin.create("writer", scope=campaign("spring"), expire_time=expires, reason="why")
    assert is_token(made.secret)
    assert admin.status(made.secret) == ""
    token = made.token
    assert (token.organization, token.name, token.role) == (admin.organization, "writer", pb.ROLE_AGENT)
    assert (token.scope, token.expire_time, token.identity) == (campaign("spring"), expires, "")
    assert token.creator.startswith("admin-")
    assert not any(token.HasField(name) for name in ("revoke_time", "last_use_time"))
    listed = admin.call("ListTokens").tokens
    assert [entry.name for entry in listed][:1] == ["writer"]
    assert listed[0] == token or listed[0].HasField("last_use_time")
    assert made.secret not in str(listed)


def test_an_identity_has_no_secret(admin: Admin) -> None:
    """Who shows a certificate needs none; an identity has one role at a time, wherever."""
    identity = f"CN={admin.organization}"
    operator = admin.secured.operator
    made = admin.call("CreateToken", operator, name="writer", role=pb.ROLE_AGENT, identity=identity)
    assert (made.secret, made.token.identity) == ("", identity)
    taken = admin.refused("CreateToken", operator, name="other", role=pb.ROLE_AGENT, identity=identity)
    assert (taken.code, taken.reason) == (Code.ALREADY_EXISTS, "TOKEN_EXISTS")


def test_a_revoked_token_ends_within_seconds(admin: Admin) -> None:
    """By name or id; the answer says since when, and the server refuses it soon after."""
    made = admin.create("writer")
    assert admin.status(made.secret) == ""
    revoked = admin.call("RevokeToken", token=made.token.token_id, reason="left").token
    assert revoked.token_id == made.token.token_id
    assert revoked.HasField("revoke_time")
    until(lambda: admin.status(made.secret) == "TOKEN_REVOKED", timeout_s=5)
    for known in ("writer", made.token.token_id):
        again = admin.refused("RevokeToken", token=known)
        assert (again.code, again.reason) == (Code.NOT_FOUND, "TOKEN_NOT_FOUND")
    assert admin.create("writer").token.token_id != made.token.token_id


def test_uses_are_told(admin: Admin) -> None:
    """When a token was last used is listed within seconds; one that never was has none."""
    used, _ = admin.create("used"), admin.create("unused")
    assert admin.status(used.secret) == ""

    def uses() -> dict[str, bool]:
        return {token.name: token.HasField("last_use_time") for token in admin.call("ListTokens").tokens}

    until(lambda: uses()["used"])
    assert not uses()["unused"]


def test_pages(admin: Admin) -> None:
    """Tokens in force come first, then the newest, page by page; a page's token belongs to its request."""
    for name in "abcde":
        admin.create(name)
    admin.call("RevokeToken", token="d")
    found: list[str] = []
    page_token = ""
    while not found or page_token:
        page = admin.call("ListTokens", page_size=2, page_token=page_token)
        assert len(page.tokens) <= 2
        found += [token.name for token in page.tokens]
        page_token = page.next_page_token
    assert [name for name in found if not name.startswith("admin-")] == list("ecbad")
    true = admin.call("ListTokens", page_size=1).next_page_token
    operator = admin.secured.operator
    for bad in ("x", true[:-4], true + "A"):
        assert [*admin.refused("ListTokens", page_token=bad).violations] == ["page_token"]
    foreign = admin.refused("ListTokens", operator, organization="other", page_token=true)
    assert [*foreign.violations] == ["page_token"]


def test_operators_are_made_by_operators(admin: Admin) -> None:
    """An admin neither makes an operator's token, nor sees or ends one; not with an empty organization either."""
    for organization in ("", admin.organization):
        wanted = {"name": "root", "role": pb.ROLE_OPERATOR, "organization": organization}
        refused = admin.refused("CreateToken", **wanted)
        assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "ROLE_INSUFFICIENT")
    name = f"root of {admin.organization}"[-128:]
    operator = admin.secured.operator
    made = admin.call("CreateToken", operator, organization="", name=name, role=pb.ROLE_OPERATOR)
    assert admin.status(made.secret) == ""
    assert admin.refused("RevokeToken", organization="", token=name).code is Code.NOT_FOUND
    assert name not in [token.name for token in admin.call("ListTokens", organization="").tokens]
    assert name in [token.name for token in admin.call("ListTokens", operator, organization="", page_size=1000).tokens]
    assert admin.call("RevokeToken", made.secret, organization="", token=name).token.role == pb.ROLE_OPERATOR


def test_an_admin_makes_every_other_role(admin: Admin) -> None:
    """For its own organization, which is filled in; another one is not found."""
    for role in (pb.ROLE_AGENT, pb.ROLE_VIEWER, pb.ROLE_ADMIN):
        made = admin.create(pb.Role.Name(role), role, organization="")
        assert (made.token.organization, made.token.role) == (admin.organization, role)
    other = admin.refused("CreateToken", name="x", role=pb.ROLE_AGENT, organization="other")
    assert (other.code, other.reason) == (Code.NOT_FOUND, "ORGANIZATION_NOT_FOUND")


BAD_TOKENS: dict[str, dict[str, Any]] = {
    "organization": {"organization": "o", "role": pb.ROLE_OPERATOR},
    "scope": {"role": pb.ROLE_VIEWER, "scope": campaign("c")},
    "scope.kind": {"scope": department("d")},
    "scope.id": {"scope": budget_pb2.Scope(kind=budget_pb2.SCOPE_KIND_AGENT)},
    "identity": {"identity": "nobody"},
    "expire_time": {"expire_time": Timestamp(seconds=1)},
    "expire_time (far)": {"expire_time": Timestamp(seconds=253_402_300_799)},
    "expire_time (nanos)": {"expire_time": Timestamp(seconds=1, nanos=-1)},
    "expire_time (never)": {"expire_time": Timestamp(seconds=2**62)},
}


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_tokens_that_cannot_be(admin: Admin, case: str) -> None:
    """They are INVALID_ARGUMENT on the field that is wrong."""
    fields = {"name": "x", "role": pb.ROLE_AGENT, "organization": admin.organization} | BAD_TOKENS[case]
    refused = admin.refused("CreateToken", admin.secured.operator, **fields)
    assert (refused.code, [*refused.violations]) == (Code.INVALID_ARGUMENT, [case.partition(" ")[0]])


def estimate_of(admin: Admin, **tokens: Any) -> Any:
    """Return what the server holds for tokens."""
    call = gate_pb.ReserveRequest(organization=admin.organization, validate_only=True, **tokens)
    return from_money(admin.secured.call("Reserve", call, admin.secured.operator).reservation.amount)


def test_prices(admin: Admin) -> None:
    """A price of a model or an agent type counts at once, in a new version of the organization's book."""
    million = reservation_pb2.TokenEstimate(model="mine", input_tokens=1_000_000, max_output_tokens=1_000_000)
    price = pb.ModelPrice(model="Mine", input=to_money(3), output=to_money("15.5", "USD"))
    assert admin.call("SetPrice", model_price=price).price_version == f"{admin.organization}-1"
    assert estimate_of(admin, tokens=million) == to_decimal("18.5")
    of_type = pb.AgentTypePrice(agent_type="seo", per_1000_tokens=to_money("0.5"))
    assert admin.call("SetPrice", agent_type_price=of_type, reason="why").price_version == f"{admin.organization}-2"
    thousand = reservation_pb2.TokenEstimate(input_tokens=1000)
    assert estimate_of(admin, tokens=thousand, agent_type="seo") == to_decimal("0.5")
    later = pb.ModelPrice(model="mine", input=to_money(9), output=to_money(9), since="2999-01-01")
    admin.call("SetPrice", model_price=later)
    assert estimate_of(admin, tokens=million) == to_decimal("18.5")


def to_decimal(text: str) -> Any:
    """Return an amount as the client reads it."""
    return from_money(to_money(text))


def model_price(**fields: Any) -> dict[str, Any]:
    """Return the price of a model, but for the given fields."""
    price: dict[str, Any] = {"model": "m", "input": to_money(1), "output": to_money(1)}
    return {"model_price": pb.ModelPrice(**(price | fields))}


BAD_PRICES: dict[str, Callable[[], dict[str, Any]]] = {
    "model_price.since": lambda: model_price(since="2020-01-01"),
    "model_price.since (no day)": lambda: model_price(since="2027-02-30"),
    "model_price.input": lambda: model_price(input=to_money(-1)),
    "model_price": lambda: model_price(output=to_money(100_000)),
    "agent_type_price": lambda: {
        "agent_type_price": pb.AgentTypePrice(agent_type="x", per_1000_tokens=to_money(100)),
    },
}


@pytest.mark.parametrize("case", BAD_PRICES)
def test_prices_that_cannot_be(admin: Admin, case: str) -> None:
    """They are INVALID_ARGUMENT on the field that is wrong."""
    refused = admin.refused("SetPrice", **BAD_PRICES[case]())
    assert (refused.code, [*refused.violations]) == (Code.INVALID_ARGUMENT, [case.partition(" ")[0]])


def test_prices_in_another_currency(admin: Admin) -> None:
    """Every amount of a price is in the organization's currency, or in none."""
    for fields in ({"output": to_money(1, "EUR")}, {"cached_input": to_money(1, "EUR")}):
        refused = admin.refused("SetPrice", **model_price(**fields))
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "CURRENCY_MISMATCH")
        assert refused.metadata["given"] == "EUR"


def test_prices_of_nobody(admin: Admin) -> None:
    """An organization that is not open has none."""
    fields = model_price() | {"organization": f"{admin.organization}2"}
    refused = admin.refused("SetPrice", admin.secured.operator, **fields)
    assert (refused.code, refused.reason) == (Code.NOT_FOUND, "ORGANIZATION_NOT_FOUND")


def test_a_narrowed_agent_and_its_admin(admin: Admin) -> None:
    """An admin narrows agents to a campaign or an agent; the answer says so."""
    for scope in (campaign("spring"), agent("a1")):
        assert admin.create(f"for {scope.id}", scope=scope).token.scope == scope
