"""How is the gRPC server put together?"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gatekeeper_client.v1 import gatekeeper_service_pb2, report_service_pb2

from .boundary import Admission, guarded, reader
from .gatekeeper import GatekeeperServicer
from .health import Health
from .reports import ReportServicer
from .validation import Validator

GATEKEEPER = gatekeeper_service_pb2.DESCRIPTOR.services_by_name["GatekeeperService"]
REPORT = report_service_pb2.DESCRIPTOR.services_by_name["ReportService"]
SERVICES = (GATEKEEPER.full_name, REPORT.full_name)
UNIX = "unix:"
PORT_MAX = 65_535


class ListenError(Exception):
    """Cannot listen on {address}: {why}."""

    def __init__(self, address: str, why: str) -> None:
        """Say where and why not."""
        super().__init__((ListenError.__doc__ or "").format(address=address, why=why))


def build_server(
    gatekeeper: GatekeeperServicer,
    reports: ReportServicer,
    health: Health,
    admission: Admission,
    *,
    message_bytes_max: int,
    concurrent_streams_max: int,
) -> grpc.aio.Server:
    """Return a server with both services, health and reflection; it listens nowhere yet."""
    server = grpc.aio.server(
        options=channel_options(message_bytes_max, concurrent_streams_max),
    )
    validator = Validator()
    for descriptor, servicer in ((GATEKEEPER, gatekeeper), (REPORT, reports)):
        server.add_generic_rpc_handlers((_handlers(descriptor, servicer, validator, admission),))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return server


def channel_options(message_bytes_max: int, concurrent_streams_max: int) -> Sequence[tuple[str, Any]]:
    """Return the options of the gRPC core."""
    return (
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_concurrent_streams", concurrent_streams_max),
        # Two servers on one port would each get a part of the calls, unseen. A port in use is an error.
        ("grpc.so_reuseport", 0),
    )


def _handlers(descriptor: Any, servicer: Any, validator: Validator, admission: Admission) -> grpc.GenericRpcHandler:
    handlers = {}
    for method in descriptor.methods:
        request, response = method.input_type._concrete_class, method.output_type._concrete_class  # noqa: SLF001
        handlers[method.name] = grpc.unary_unary_rpc_method_handler(
            guarded(getattr(servicer, method.name), method.input_type.full_name, validator, admission),
            request_deserializer=reader(request.FromString),
            response_serializer=response.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)


def listen(server: grpc.aio.Server, address: str) -> str:
    """Listen on HOST:PORT or unix:PATH without encryption; return the address with the port that was taken.

    Without tokens and TLS, only this machine may call: a loopback address, or a socket file for its owner alone.
    """
    if address.startswith(UNIX):
        return _listen_unix(server, address)
    host, _, port = address.rpartition(":")
    if not _is_loopback(host.strip("[]")):
        raise ListenError(address, "this version has no authentication, so only loopback addresses are safe")
    if not (port.isascii() and port.isdecimal() and int(port) <= PORT_MAX):
        raise ListenError(address, "give it as HOST:PORT or unix:PATH")
    try:
        _try(host.strip("[]"), int(port))
        bound = server.add_insecure_port(address)
    except (OSError, RuntimeError) as error:
        raise ListenError(address, "the port is in use or not allowed; give another with --listen") from error
    return f"{host}:{bound}"


def _try(host: str, port: int) -> None:
    """Raise OSError for a port that is not to be had: gRPC would write to the log about it."""
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
            except OSError as error:
                # A host may have one of its addresses only.
                if error.errno != errno.EADDRNOTAVAIL:
                    raise


def _listen_unix(server: grpc.aio.Server, address: str) -> str:
    path = Path(address.removeprefix(UNIX))
    if path.is_socket() and _answers(path):
        raise ListenError(address, "another server answers there")
    if path.exists() and not path.is_socket():
        raise ListenError(address, "a file that is no socket is there")
    if not os.access(path.parent, os.W_OK):
        raise ListenError(address, "the folder is missing or not writable")
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise ListenError(address, "a socket cannot be made there; its path may be too long") from error
    finally:
        os.umask(before)
    return address


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
