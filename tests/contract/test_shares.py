"""What do others notice while one organization floods the server with reads or changes, and all of them hang?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.message import Message

from gatekeeper.domain.access import Role
from gatekeeper.rpc.shares import UNDER_WAY_MAX, WAITING_MAX
from gatekeeper_client.money import to_money
from gatekeeper_client.v1 import admin_service_pb2 as admin_pb
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb
from gatekeeper_client.v1 import report_service_pb2 as report_pb
from tests.conftest import ServerFactory

from .refusals import refusal_of
from .requests import method
from .secured import Secured
from .wire import TIMEOUT_S, Wire, until

LOUD, CALM = "loud", "calm"
REFUSED = 100
FLOOD = UNDER_WAY_MAX + WAITING_MAX + REFUSED
FULL = (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", 0.1)


@pytest.fixture
def secured(start_server: ServerFactory, database_url: str) -> Iterator[Secured]:
    """Return a server that asks for tokens, with as many connections as everyone gets, and two organizations."""
    server = start_server(database_url=database_url, GATEKEEPER_INSECURE="0")
    with closing(Wire(server.address, database_url)) as wire:
        secured = Secured(wire)
        for organization in (LOUD, CALM):
            secured.call("SetCap", cap(organization), secured.operator)
        yield secured


def cap(organization: str) -> pb.SetCapRequest:
    """Return a change that takes the lock on the organization's books."""
    return pb.SetCapRequest(organization=organization, cap=to_money(100, "USD"))


@contextmanager
def flooded(secured: Secured, rpc: str, request: Message, token: str) -> Iterator[None]:
    """Make many calls that hang, and let something else happen once the server keeps no more of them."""
    metadata = (("authorization", f"Bearer {token}"),)
    with closing(Wire(secured.wire.address, secured.wire.database_url)) as wire:
        start: Any = method(wire, rpc).future
        calls = [start(request, timeout=TIMEOUT_S, metadata=metadata) for _ in range(FLOOD)]
        until(lambda: sum(call.done() for call in calls) >= REFUSED)
        done = [refusal_of(call.exception()) for call in calls if call.done()]
        assert Counter((of.code, of.reason, of.retry_delay_s) for of in done)[FULL] == REFUSED
        yield
        assert not all(call.done() for call in calls)
        for call in calls:
            call.cancel()


def answered(secured: Secured, organization: str, agent: str, viewer: str) -> None:
    """Assert that an organization is served."""
    reserved = secured.call("Reserve", pb.ReserveRequest(organization=organization, amount=to_money(1, "USD")), agent)
    assert reserved.WhichOneof("outcome") == "reservation"
    for token in (agent, viewer):
        assert secured.call("GetStatus", pb.GetStatusRequest(organization=organization), token).can_execute


def test_a_flood_of_changes(secured: Secured) -> None:
    """Others reserve, read and change; reads of the organization itself go on, and an operator ends the token."""
    loud = secured.token(Role.ADMIN, LOUD)
    ((name,),) = secured.wire.sql("SELECT name FROM tokens WHERE organization = %s", LOUD)
    reader = secured.token(Role.VIEWER, LOUD)
    agent, viewer, admin = (secured.token(role, CALM) for role in (Role.AGENT, Role.VIEWER, Role.ADMIN))
    with secured.wire.locked(LOUD), flooded(secured, "SetCap", cap(LOUD), loud):
        answered(secured, CALM, agent, viewer)
        secured.call("SetCap", cap(CALM), admin)
        secured.call("GetStatus", pb.GetStatusRequest(organization=LOUD), reader)
        secured.call("RevokeToken", admin_pb.RevokeTokenRequest(organization=LOUD, token=name), secured.operator)


def test_a_flood_of_reads(secured: Secured) -> None:
    """Others reserve and read; in the organization itself calls on reservations and changes go on."""
    loud = secured.token(Role.VIEWER, LOUD)
    ours, admin = secured.token(Role.AGENT, LOUD), secured.token(Role.ADMIN, LOUD)
    agent, viewer = (secured.token(role, CALM) for role in (Role.AGENT, Role.VIEWER))
    request = report_pb.ListAuditEventsRequest(organization=LOUD)
    with psycopg.connect(secured.wire.database_url) as other:
        other.execute("LOCK TABLE audit_chain IN ACCESS EXCLUSIVE MODE")
        with flooded(secured, "ListAuditEvents", request, loud):
            answered(secured, CALM, agent, viewer)
            reserve = pb.ReserveRequest(organization=LOUD, amount=to_money(1, "USD"))
            assert secured.call("Reserve", reserve, ours).WhichOneof("outcome") == "reservation"
            secured.call("SetCap", cap(LOUD), admin)
