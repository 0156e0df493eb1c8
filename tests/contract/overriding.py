"""How do tests let calls past their caps? Over the wire, as anyone or as the bearer of a token."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from gatekeeper.domain.access import Role
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import override_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .requests import send
from .secured import Secured
from .wire import Wire

PENDING, ACTIVE, ENDED, DECLINED, EXPIRED = (
    override_pb2.OVERRIDE_STATE_PENDING,
    override_pb2.OVERRIDE_STATE_ACTIVE,
    override_pb2.OVERRIDE_STATE_ENDED,
    override_pb2.OVERRIDE_STATE_DECLINED,
    override_pb2.OVERRIDE_STATE_EXPIRED,
)
HOUR_S, DAY_S = 3600, 86_400


class Overriding:
    """What somebody does with the overrides of an organization."""

    def __init__(self, call: Callable[[str, Message], Any], organization: str, token: str = "") -> None:
        """Speak by `call`, which takes an RPC's name and a request; with a token, as its bearer."""
        self.organization = organization
        self.token = token
        self._call = call

    def on(self, amount: str | None = "10", **fields: Any) -> override_pb2.Override:
        """Turn an override on."""
        return self.set(amount, enabled=True, **fields).override

    def approve(self, override_id: str, amount: str | None = None, **fields: Any) -> override_pb2.Override:
        """Approve an override."""
        return self.set(amount, enabled=True, override_id=override_id, **fields).override

    def off(self, **fields: Any) -> pb.SetOverrideResponse:
        """Turn overrides off."""
        return self.set(None, enabled=False, **fields)

    def set(self, amount: str | None, **fields: Any) -> pb.SetOverrideResponse:
        """Make a SetOverride."""
        answer: pb.SetOverrideResponse = self._call("SetOverride", self._asking(pb.SetOverrideRequest, amount, fields))
        return answer

    def request(self, amount: str | None = "10", **fields: Any) -> override_pb2.Override:
        """Ask for an override."""
        asked: pb.RequestOverrideResponse = self._call(
            "RequestOverride", self._asking(pb.RequestOverrideRequest, amount, fields)
        )
        return asked.override

    def listed(self, **fields: Any) -> list[override_pb2.Override]:
        """Return the first page of overrides."""
        request = report_pb.ListOverridesRequest(organization=self.organization, **fields)
        return list(self._call("ListOverrides", request).overrides)

    def in_force(self, *scopes: Any) -> list[str]:
        """Return the ids of the overrides that GetStatus tells of."""
        status = self._call("GetStatus", pb.GetStatusRequest(organization=self.organization, scopes=scopes))
        return [override.override_id for override in status.overrides]

    def reserve(self, amount: str, **fields: Any) -> pb.ReserveResponse:
        """Ask for a hold."""
        request = pb.ReserveRequest(organization=self.organization, amount=to_money(amount), **fields)
        answer: pb.ReserveResponse = self._call("Reserve", request)
        return answer

    def _asking(self, request: Callable[..., Message], amount: str | None, fields: Mapping[str, Any]) -> Message:
        asked = {"organization": self.organization, "reason": "the launch is today", **fields}
        ttl_s = asked.pop("ttl_s", None)
        return request(
            max_amount=None if amount is None else to_money(amount, asked.pop("currency", "")),
            ttl=None if ttl_s is None else Duration(seconds=ttl_s),
            **asked,
        )


def anyone(wire: Wire, organization: str) -> Overriding:
    """Return somebody whom nobody asks for a token."""
    return Overriding(lambda rpc, request: send(wire, rpc, request), organization)


def bearer(secured: Secured, organization: str, role: Role, **fields: Any) -> Overriding:
    """Return somebody with a new token of a role."""
    token = secured.operator if role is Role.OPERATOR else secured.token(role, organization, **fields)
    return bearer_of(secured, organization, token)


def bearer_of(secured: Secured, organization: str, token: str) -> Overriding:
    """Return somebody with a token."""
    return Overriding(lambda rpc, request: secured.call(rpc, request, token), organization, token)


class Office:
    """An agent, two admins and an operator, who has made them, of an organization that is open."""

    def __init__(self, secured: Secured, organization: str) -> None:
        """Open it with a cap of 1."""
        cap = pb.SetCapRequest(organization=organization, cap=to_money(1))
        secured.call("SetCap", cap, secured.operator)
        self.agent = bearer(secured, organization, Role.AGENT)
        self.ada, self.grace = (bearer(secured, organization, Role.ADMIN) for _ in range(2))
        self.operator = bearer(secured, organization, Role.OPERATOR)
        self._secured = secured

    def made_by(self, maker: Overriding) -> Overriding:
        """Return a new admin whom somebody else has made than the operator."""
        return bearer(self._secured, maker.organization, Role.ADMIN, by=maker.token)

    def is_denied(self) -> bool:
        """Tell whether a call without room is denied."""
        return self.agent.reserve("3").HasField("denial")


def opened(wire: Wire, organization: str, cap: str = "1") -> Overriding:
    """Open an organization with a cap; return somebody who overrides it."""
    wire.cap(organization, cap)
    return anyone(wire, organization)


def trail(wire: Wire, organization: str) -> list[tuple[str, str, str, str]]:
    """Return action, actor, reason, and the state afterwards, of what the audit trail keeps of overrides, in order."""
    found = wire.sql(
        "SELECT action, actor, reason, after FROM audit_events"
        " WHERE organization = %s AND action LIKE 'OVERRIDE%%' ORDER BY event_id",
        organization,
    )
    return [(action, actor, reason, json.loads(after).get("state", "")) for action, actor, reason, after in found]


def told(wire: Wire, organization: str) -> list[tuple[str, str]]:
    """Return subject and message of the alerts that tell admins of overrides, in order."""
    return wire.sql(
        "SELECT subject, message FROM alerts WHERE organization = %s AND kind = 'OVERRIDE_REQUESTED' ORDER BY alert_id",
        organization,
    )  # type: ignore[return-value]
