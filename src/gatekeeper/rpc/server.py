"""How is the gRPC server put together?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gatekeeper_client.v1 import admin_service_pb2, gatekeeper_service_pb2, report_service_pb2

from .admin import AdminServicer
from .boundary import Boundary, guarded, reader
from .gatekeeper import GatekeeperServicer
from .health import Health
from .reflection import add_reflection
from .reports import ReportServicer
from .stream_boundary import guarded_stream
from .streams import Streams
from .turnstile import Turnstile

GATEKEEPER = gatekeeper_service_pb2.DESCRIPTOR.services_by_name["GatekeeperService"]
REPORT = report_service_pb2.DESCRIPTOR.services_by_name["ReportService"]
ADMIN = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"]
SERVICES = (GATEKEEPER.full_name, REPORT.full_name, ADMIN.full_name)

# A header is read whole before anybody is asked who sent it; a token and tracing take less than a tenth.
METADATA_BYTES_MAX = 16_384
# How long a connection may take to say something sensible. Each that says nothing holds a place for so long.
HANDSHAKE_TIMEOUT_S = 10.0
PING_STRIKES_MAX = 2
# A client that does not answer a ping is gone, and its streams with it: the kernel would notice after two hours.
KEEPALIVE_S, KEEPALIVE_TIMEOUT_S = 60.0, 20.0
# Calls that gRPC has read and not handed over yet: what comes in while the process stands still for some seconds.
PENDING_MAX = 100_000


def build_server(
    gatekeeper: GatekeeperServicer,
    reports: ReportServicer,
    admin: AdminServicer,
    health: Health,
    boundary: Boundary,
    *,
    streams: Streams,
    exports: Streams,
    message_bytes_max: int,
    concurrent_streams_max: int,
    connections_max: int | None = None,
    ping_interval_min_s: float | None = None,
    connection_idle_max_s: float | None = None,
    connection_age_max_s: float | None = None,
) -> grpc.aio.Server:
    """Return a server with all services, health and reflection; it listens nowhere yet. Limits: `channel_options`.

    `exports` are those of ExportInvoice, `streams` all others.
    """
    server = grpc.aio.server(
        options=channel_options(
            message_bytes_max,
            concurrent_streams_max,
            connections_max=connections_max,
            ping_interval_min_s=ping_interval_min_s,
            connection_idle_max_s=connection_idle_max_s,
            connection_age_max_s=connection_age_max_s,
        )
    )
    for descriptor, servicer in ((GATEKEEPER, gatekeeper), (REPORT, reports), (ADMIN, admin)):
        server.add_generic_rpc_handlers((_handlers(descriptor, servicer, boundary, streams, exports),))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    add_reflection(server, (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name), health.reflections)
    return server


def channel_options(
    message_bytes_max: int,
    concurrent_streams_max: int,
    *,
    connections_max: int | None = None,
    ping_interval_min_s: float | None = None,
    connection_idle_max_s: float | None = None,
    connection_age_max_s: float | None = None,
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    keepalive_s: float = KEEPALIVE_S,
    keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
) -> Sequence[tuple[str, Any]]:
    """Return the options of the gRPC core; what is None is left to it.

    `connections_max` holds for each address. Clients that ping faster than every `ping_interval_min_s`, with or without
    calls under way, are sent away. A connection without a call for `connection_idle_max_s` is closed; one that is
    older than `connection_age_max_s` takes no new calls, and ends with those under way.
    """
    options = {
        "grpc.max_receive_message_length": message_bytes_max,
        "grpc.max_concurrent_streams": concurrent_streams_max,
        "grpc.max_allowed_incoming_connections": connections_max,
        "grpc.max_connection_idle_ms": _ms(connection_idle_max_s),
        "grpc.max_connection_age_ms": _ms(connection_age_max_s),
        "grpc.http2.min_ping_interval_without_data_ms": _ms(ping_interval_min_s),
        "grpc.http2.max_ping_strikes": PING_STRIKES_MAX,
        "grpc.keepalive_time_ms": _ms(keepalive_s),
        # The one is for what the kernel is to send, the other for the ping's answer.
        "grpc.keepalive_timeout_ms": _ms(keepalive_timeout_s),
        "grpc.http2.ping_timeout_ms": _ms(keepalive_timeout_s),
        # Between the two, gRPC would drop at random what it has not handed over yet, whoever's it is, and as CANCELLED.
        # What waits for the ledger has a bound of its own, and an answer.
        "grpc.server.max_pending_requests": PENDING_MAX,
        "grpc.server.max_pending_requests_hard_limit": PENDING_MAX,
        # Without it, pings between calls may come every two hours only, and the first call after them pays for it.
        "grpc.keepalive_permit_without_calls": 1,
        # Between the two, gRPC would refuse at random.
        "grpc.max_metadata_size": METADATA_BYTES_MAX,
        "grpc.absolute_max_metadata_size": METADATA_BYTES_MAX,
        "grpc.server_handshake_timeout_ms": _ms(handshake_timeout_s),
        # Two servers on one port would each get a part of the calls, unseen. A port in use is an error.
        "grpc.so_reuseport": 0,
    }
    return tuple((name, value) for name, value in options.items() if value is not None)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _handlers(
    descriptor: Any, servicer: Any, boundary: Boundary, streams: Streams, exports: Streams
) -> grpc.GenericRpcHandler:
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in descriptor.methods:
        request, response = method.input_type._concrete_class, method.output_type._concrete_class  # noqa: SLF001
        if method.server_streaming:
            counted = exports if method.name == "ExportInvoice" else streams
            handlers[method.name] = grpc.unary_stream_rpc_method_handler(
                guarded_stream(getattr(servicer, method.name), method, boundary, counted),
                request_deserializer=reader(request.FromString),
            )
            continue
        handlers[method.name] = grpc.unary_unary_rpc_method_handler(
            guarded(getattr(servicer, method.name), method, boundary),
            request_deserializer=reader(request.FromString),
            response_serializer=response.SerializeToString,
        )
    generic = grpc.method_handlers_generic_handler(descriptor.full_name, handlers)
    if boundary.rates is None:
        return generic
    return Turnstile(generic, boundary.authentication, boundary.rates, boundary.witnesses.metrics)
