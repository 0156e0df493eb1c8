"""Which RPCs do admins call, about tokens, prices, invoices, and whether alerts arrive?"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as WireMoney

from gatekeeper.domain.access import ANYONE, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import InvalidField, RoleInsufficient, TokenMissing
from gatekeeper.domain.tokens import NewToken, Token
from gatekeeper.services import alerts, price_admin, tokens
from gatekeeper.services import billing_profiles as profiles
from gatekeeper.services.invoices import Invoices
from gatekeeper.services.price_admin import AgentTypePrice, ModelPrice
from gatekeeper.storage.connections import Pool
from gatekeeper.storage.tokens import Position
from gatekeeper_client.v1 import admin_service_pb2 as pb

from .alerts import write_alert
from .billing_profiles import read_profile, write_profile
from .boundary import CallInfo
from .invoices import write_issued
from .money import read_money
from .paging import FOREIGN, page_size, read_instant, read_token, write_token
from .translate import read_scope, write_scope, write_time

ROLES = {role: pb.Role.Value(f"ROLE_{role}") for role in Role}
ROLE_OF = {value: role for role, value in ROLES.items()}
IN_FORCE = {"1": True, "": False}
# What the service calls fields of a price, and the wire.
PRICE_FIELDS = {
    "model": "model_price.model",
    "from": "model_price.since",
    "agent_type": "agent_type_price.agent_type",
}


class AdminServicer:
    """gatekeeper.v1.AdminService, by tokens, prices, alerts, and what invoices say."""

    def __init__(self, *, reads: Pool, writes: Pool, audit_key: AuditKey, invoices: Invoices) -> None:
        """Read and write by these pools; seal what the audit trail keeps with `audit_key`."""
        self._reads = reads
        self._writes = writes
        self._audit_key = audit_key
        self._invoices = invoices

    async def CreateToken(self, request: pb.CreateTokenRequest, info: CallInfo) -> pb.CreateTokenResponse:
        """Make a token, or give a role to an identity."""
        role = ROLE_OF[request.role]
        _require_token(info)
        if role is Role.OPERATOR or not request.organization:
            _require_operator(info, "CreateToken of an operator's")
        if request.identity:
            # There is one of each for the whole installation: whoever names it first has it.
            _require_operator(info, "CreateToken for an identity")
        new = NewToken(
            organization=request.organization,
            name=request.name,
            role=role,
            scope=read_scope(request.scope, "scope") if request.HasField("scope") else None,
            identity=request.identity,
            expires_at=_read_time(request.expire_time) if request.HasField("expire_time") else None,
            reason=request.reason,
        )
        token, secret = await tokens.create(self._writes, new, info.actor, self._audit_key)
        return pb.CreateTokenResponse(token=_write_token(token), secret=secret)

    async def ListTokens(self, request: pb.ListTokensRequest, info: CallInfo) -> pb.ListTokensResponse:
        """List an organization's tokens, those in force first, then the newest first."""
        if not request.organization:
            _require_operator(info, "ListTokens of operators")
        size = page_size(request.page_size)
        found = await tokens.list_tokens(self._reads, request.organization, _read_position(request), size + 1)
        last = found[size - 1] if len(found) > size else None
        return pb.ListTokensResponse(
            tokens=[_write_token(token) for token in found[:size]],
            next_page_token=write_token(request, _write_position(last) if last else None),
        )

    async def RevokeToken(self, request: pb.RevokeTokenRequest, info: CallInfo) -> pb.RevokeTokenResponse:
        """End a token."""
        _require_token(info)
        if not request.organization:
            _require_operator(info, "RevokeToken of an operator's")
        revoked = await tokens.revoke(
            self._writes, request.organization, request.token, info.actor, self._audit_key, reason=request.reason
        )
        return pb.RevokeTokenResponse(token=_write_token(revoked))

    async def SetPrice(self, request: pb.SetPriceRequest, info: CallInfo) -> pb.SetPriceResponse:
        """Put a price in force for an organization."""
        currencies: set[str] = set()
        price = _read_price(request, currencies)
        try:
            version = await price_admin.set_price(
                self._writes,
                request.organization,
                price,
                info.actor,
                self._audit_key,
                reason=request.reason,
                currencies=currencies,
            )
        except InvalidField as error:
            field, problem = error.metadata["field"], error.metadata["problem"]
            whole = request.WhichOneof("price") or "price"
            raise InvalidField(field=PRICE_FIELDS.get(field, whole), problem=problem) from error
        return pb.SetPriceResponse(price_version=version)

    async def TestAlerts(self, request: pb.TestAlertsRequest, _info: CallInfo) -> pb.TestAlertsResponse:
        """Send an alert that says nothing."""
        return pb.TestAlertsResponse(alert=write_alert(await alerts.send_test(self._writes, request.organization)))

    async def RetryAlerts(self, request: pb.RetryAlertsRequest, _info: CallInfo) -> pb.RetryAlertsResponse:
        """Try anew what was given up."""
        return pb.RetryAlertsResponse(deliveries=await alerts.retry(self._writes, request.organization))

    async def GetBillingProfile(
        self, request: pb.GetBillingProfileRequest, _info: CallInfo
    ) -> pb.GetBillingProfileResponse:
        """Tell what an organization's invoices say of the buyer, of tax and of payment."""
        profile = await profiles.get_profile(self._reads, request.organization)
        return pb.GetBillingProfileResponse(profile=write_profile(profile))

    async def SetBillingProfile(
        self, request: pb.SetBillingProfileRequest, info: CallInfo
    ) -> pb.SetBillingProfileResponse:
        """Change that, for invoices to come."""
        command = read_profile(request)
        profile = await profiles.set_profile(self._writes, request.organization, command, info.actor, self._audit_key)
        return pb.SetBillingProfileResponse(profile=write_profile(profile))

    async def CreditInvoice(self, request: pb.CreditInvoiceRequest, info: CallInfo) -> pb.CreditInvoiceResponse:
        """Take an issued invoice back."""
        note = await self._invoices.credit(request.organization, request.number, request.reason, info.actor)
        return pb.CreditInvoiceResponse(invoice=write_issued(note, lines_max=0))


def _require_token(info: CallInfo) -> None:
    """Refuse to let somebody unknown decide who is known: what they leave behind outlives a server without tokens."""
    if info.actor.caller is ANYONE:
        raise TokenMissing


def _require_operator(info: CallInfo, method: str) -> None:
    role = info.actor.caller.role
    if role is not Role.OPERATOR:
        raise RoleInsufficient(method=method, roles=Role.OPERATOR.lower(), role=role.lower())


def _read_time(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidField(field="expire_time", problem="must be between the years 1 and 9999") from error


def _read_position(request: pb.ListTokensRequest) -> Position | None:
    position = read_token(request, 3)
    if position is None:
        return None
    in_force, created_at, token_id = position
    if in_force not in IN_FORCE:
        raise InvalidField(field="page_token", problem=FOREIGN)
    return Position(IN_FORCE[in_force], read_instant(created_at), token_id)


def _write_position(token: Token) -> tuple[str, datetime, str]:
    in_force, created_at, token_id = tokens.position(token)
    return "1" if in_force else "", created_at, token_id


def _read_price(request: pb.SetPriceRequest, currencies: set[str]) -> ModelPrice | AgentTypePrice:
    """Read a price, and in which currencies its parts are."""

    def rate(money: WireMoney, field: str) -> Decimal:
        read = read_money(money, field)
        currencies.add(read.currency)
        return read.amount

    if request.WhichOneof("price") == "agent_type_price":
        of_type = request.agent_type_price
        per_1000_tokens = rate(of_type.per_1000_tokens, "agent_type_price.per_1000_tokens")
        return AgentTypePrice(agent_type=of_type.agent_type, per_1000_tokens=per_1000_tokens)
    of_model = request.model_price
    rates = {
        name: rate(getattr(of_model, name), f"model_price.{name}")
        for name in ("input", "output", "cached_input", "cache_write_input")
        if of_model.HasField(name)
    }
    return ModelPrice(model=of_model.model, since=_read_since(of_model.since), **rates)


def _read_since(since: str) -> date | None:
    try:
        return date.fromisoformat(since) if since else None
    except ValueError as error:
        raise InvalidField(field="model_price.since", problem="must be a day that there is") from error


def _write_token(token: Token) -> pb.Token:
    return pb.Token(
        token_id=token.token_id,
        organization=token.organization,
        name=token.name,
        role=ROLES[token.role],
        scope=None if token.scope is None else write_scope(token.scope),
        identity=token.identity,
        create_time=write_time(token.created_at),
        creator=token.created_by,
        expire_time=write_time(token.expires_at),
        revoke_time=write_time(token.revoked_at),
        last_use_time=write_time(token.last_used_at),
    )
