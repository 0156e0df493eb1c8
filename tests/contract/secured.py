"""How do tests speak with a server that asks for tokens? As whoever they say."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import grpc
from google.protobuf.message import Message

from gatekeeper.domain.access import SYSTEM, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.tokens import NewToken
from gatekeeper.services import tokens
from gatekeeper.storage.connections import open_pool
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb

from .refusals import refusal_of
from .requests import method
from .wire import TIMEOUT_S, Wire, first_of, until


class Secured:
    """A server that asks for tokens, and an operator's."""

    def __init__(self, wire: Wire) -> None:
        """Make the operator's token as the command line does: on the database."""
        self.wire = wire
        self.operator = asyncio.run(first_token(wire.database_url))

    def token(self, role: Role, organization: str = "", by: str = "", name: str = "", **fields: Any) -> str:
        """Make a token over the wire, as the bearer of `by` or else as the operator; return its secret."""
        request = admin_pb.CreateTokenRequest(
            organization=organization,
            name=name or f"{role.lower()}-{uuid.uuid4().hex[:8]}",
            role=admin_pb.Role.Value(f"ROLE_{role}"),
            **fields,
        )
        answer: admin_pb.CreateTokenResponse = self.call("CreateToken", request, by or self.operator)
        return answer.secret

    def ended_token(self, role: Role, organization: str, column: str) -> str:
        """Make a token that was ended on the database; return its secret once the server knows, a second later."""
        name = uuid.uuid4().hex
        secret = self.token(role, organization, name=name)
        self.end(name, column)
        until(lambda: not self._is_known(secret))
        return secret

    def _is_known(self, secret: str) -> bool:
        try:
            self.call("GetStatus", pb.GetStatusRequest(organization="nobody"), secret)
        except grpc.RpcError as error:
            return refusal_of(error).code is not grpc.StatusCode.UNAUTHENTICATED
        return True

    def call(self, rpc: str, request: Message, token: str | None = None) -> Any:
        """Call as the bearer of a token."""
        return self.call_with(rpc, request, () if token is None else (("authorization", f"Bearer {token}"),))

    def call_with(self, rpc: str, request: Message, metadata: tuple[tuple[str, str], ...]) -> Any:
        """Call with any metadata; of a stream, return the first message."""
        return first_of(method(self.wire, rpc)(request, timeout=TIMEOUT_S, metadata=metadata))

    def end(self, token_name: str, column: str) -> None:
        """Let a token's time be over since the day before, as `expires_at` or `revoked_at`."""
        self.wire.sql(f"UPDATE tokens SET {column} = now() - interval '1 day' WHERE name = %s", token_name)


async def first_token(database_url: str) -> str:
    """Make an operator's token; return its secret."""
    async with open_pool(database_url, name="test", size_max=1, hot=False) as pool:
        name = f"operator-{uuid.uuid4().hex[:8]}"
        _, secret = await tokens.create(pool, NewToken(name=name, role=Role.OPERATOR), SYSTEM, AuditKey())
    return secret
