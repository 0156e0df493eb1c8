"""What do load balancers and grpcurl learn from a server?"""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from .wire import TIMEOUT_S, Wire

GATEKEEPER, REPORT, ADMIN = (f"gatekeeper.v1.{name}Service" for name in ("Gatekeeper", "Report", "Admin"))
SERVING = health_pb2.HealthCheckResponse.SERVING
RPCS = {
    GATEKEEPER: [
        *("Reserve", "Commit", "Release", "Extend", "GetStatus", "SetCap", "SetOverride", "RequestOverride"),
        "ExportInvoice",
    ],
    REPORT: [
        *("ListBudgets", "ListReservations", "ListExecutions", "ListAuditEvents", "ListOverrides", "ListAlerts"),
        *("WatchStatus", "GetSpendSummary", "ListCampaignSpend", "ListDepartmentSpend", "ListAgentSpend"),
        *("ListModelSpend", "GetAttributedSpend", "GetStatement", "GetMonthlyReport", "ListInvoices"),
        "ListOrganizations",
    ],
    ADMIN: [
        *("CreateToken", "ListTokens", "RevokeToken", "SetPrice", "TestAlerts", "RetryAlerts", "GetBillingProfile"),
        *("SetBillingProfile", "CreditInvoice"),
    ],
}


@pytest.mark.parametrize("service", ["", *RPCS])
def test_health_of_each_service(wire: Wire, service: str) -> None:
    """The server and each of its services are SERVING, to who asks and to who watches."""
    assert wire.health(service) == SERVING
    watch = wire.watch_health(service)
    assert next(watch).status == SERVING
    watch.cancel()


def test_health_of_an_unknown_service(wire: Wire) -> None:
    """A service that there is not is NOT_FOUND, as the health protocol says."""
    with pytest.raises(grpc.RpcError) as caught:
        wire.health("x")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def reflect(wire: Wire, **asked: Any) -> Any:
    """Ask the server about itself."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(wire.channel)
    request = reflection_pb2.ServerReflectionRequest(**asked)
    return next(stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S))


def test_reflection_lists_every_service(wire: Wire) -> None:
    """All three services, health and reflection itself."""
    listed = reflect(wire, list_services="").list_services_response.service
    assert {service.name for service in listed} == {
        GATEKEEPER,
        REPORT,
        ADMIN,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("service", RPCS)
def test_reflection_describes_every_rpc(wire: Wire, service: str) -> None:
    """Each service is described with its RPCs, each with a request and a response of its own name."""
    answer = reflect(wire, file_containing_symbol=service).file_descriptor_response
    files = [FileDescriptorProto.FromString(serialized) for serialized in answer.file_descriptor_proto]
    (found,) = [each for file in files for each in file.service if f"{file.package}.{each.name}" == service]
    assert [rpc.name for rpc in found.method] == RPCS[service]
    for rpc in found.method:
        assert rpc.input_type == f".gatekeeper.v1.{rpc.name}Request"
        assert rpc.output_type == f".gatekeeper.v1.{rpc.name}Response"


@pytest.mark.parametrize("rpc", [f"{service}.{name}" for service, names in RPCS.items() for name in names])
def test_reflection_finds_every_rpc(wire: Wire, rpc: str) -> None:
    """By its full name comes the file that declares it; an RPC that there is not is NOT_FOUND."""
    answer = reflect(wire, file_containing_symbol=rpc).file_descriptor_response
    files = [FileDescriptorProto.FromString(serialized) for serialized in answer.file_descriptor_proto]
    declared = {f"{file.package}.{each.name}.{m.name}" for file in files for each in file.service for m in each.method}
    assert rpc in declared
    for missing in (f"{rpc}s", f"{rpc}.x", f".{rpc}"):
        error = reflect(wire, file_containing_symbol=missing).error_response
        assert error.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("symbol", ["gatekeeper.v1.Money", "google.type.Money", "gatekeeper.v1.ErrorReason"])
def test_reflection_describes_what_they_use(wire: Wire, symbol: str) -> None:
    """The messages of requests are described too; what there is not is said to be unknown."""
    answer = reflect(wire, file_containing_symbol=symbol)
    if symbol == "gatekeeper.v1.Money":
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    else:
        assert answer.file_descriptor_response.file_descriptor_proto
