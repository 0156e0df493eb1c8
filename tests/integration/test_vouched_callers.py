"""What may a caller that shows no token, but a client certificate or the user it runs as?"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from gatekeeper.domain.access import SYSTEM, Role
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.tokens import NewToken
from gatekeeper.services import tokens
from gatekeeper.storage.connections import open_pool
from gatekeeper_client import Client, GatekeeperError, Hold, PermissionDenied, tls_credentials
from tests.conftest import ServerFactory
from tests.integration.certificates import Authority

PLANNER = "spiffe://example.org/planner"
PATIENCE_S = 5


def give(database_url: str, role: Role, identity: str = "", organization: str = "acme") -> str:
    """Give a role to an identity, or make a token; return its secret."""

    async def create() -> str:
        async with open_pool(database_url, name="test", size_max=1, hot=False) as pool:
            new = NewToken(name=f"{role}:{identity}", role=role, organization=organization, identity=identity)
            return (await tokens.create(pool, new, SYSTEM, AuditKey()))[1]

    return asyncio.run(create())


def revoke(database_url: str, name: str) -> None:
    """End what was given."""

    async def end() -> None:
        async with open_pool(database_url, name="test", size_max=1, hot=False) as pool:
            await tokens.revoke(pool, "acme", name, SYSTEM, AuditKey())

    asyncio.run(end())


def reason(client: Client, organization: str = "acme") -> str:
    """Reserve; return why there was no verdict, or nothing."""
    try:
        assert isinstance(client.reserve(organization, amount="0.01"), Hold)
    except GatekeeperError as error:
        return error.reason
    return ""


def until_ended(client: Client) -> str:
    """Wait until calls are refused, for as long as a revocation may take; return why they are."""
    deadline = time.monotonic() + PATIENCE_S
    while not (refused := reason(client)):
        assert time.monotonic() < deadline
    return refused


@contextmanager
def certified(start_server: ServerFactory, database_url: str, folder: Path, identity: str) -> Iterator[Client]:
    """Yield the client of a server that demands certificates, with one of this SPIFFE ID."""
    authority = Authority()
    files = authority.write(folder, "localhost")
    pair = authority.issue(x509.UniformResourceIdentifier(identity))
    (folder / "client.pem").write_bytes(pair.certificate)
    (folder / "client.key").write_bytes(pair.key)
    server = start_server(
        *("--tls-certificate", str(files.certificate), "--tls-key", str(files.key)),
        *("--tls-client-ca", str(files.client_ca)),
        database_url=database_url,
        GATEKEEPER_INSECURE="0",
    )
    (folder / "ca.pem").write_bytes(authority.pem)
    credentials = tls_credentials(
        ca_file=folder / "ca.pem", certificate_file=folder / "client.pem", key_file=folder / "client.key"
    )
    target = f"localhost:{server.address.rpartition(':')[2]}"
    with Client(target, credentials=credentials, timeout_s=20) as client:
        yield client


def test_a_certificate_is_what_its_identity_was_given(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """Without a role it is PERMISSION_DENIED and told its name; with one it calls for its organization alone."""
    with certified(start_server, database_url, tmp_path, PLANNER) as client:
        with pytest.raises(PermissionDenied, match=PLANNER) as refused:
            client.reserve("acme", amount="0.01")
        assert refused.value.reason == "IDENTITY_UNMAPPED"
        give(database_url, Role.AGENT, PLANNER)
        assert reason(client) == ""
        assert reason(client, "other") == "ORGANIZATION_NOT_FOUND"
        with pytest.raises(PermissionDenied):
            client.set_cap("acme", cap="1")
        revoke(database_url, f"AGENT:{PLANNER}")
        assert until_ended(client) == "TOKEN_REVOKED"


def test_a_unix_user_is_what_its_number_was_given(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """The kernel says who it is; a token that comes with a call counts instead."""
    address = f"unix:{tmp_path / 's'}"
    start_server("--listen", address, "--unix-peers", database_url=database_url, GATEKEEPER_INSECURE="0")
    identity = f"uid={os.getuid()}"
    with Client(address) as client, Client(address, token=give(database_url, Role.VIEWER)) as viewer:
        assert reason(client) == "IDENTITY_UNMAPPED"
        give(database_url, Role.AGENT, identity)
        assert reason(client) == ""
        assert reason(viewer) == "ROLE_INSUFFICIENT"
        revoke(database_url, f"AGENT:{identity}")
        assert until_ended(client) == "TOKEN_REVOKED"


def test_a_unix_socket_without_peers_vouches_for_nobody(
    start_server: ServerFactory, database_url: str, tmp_path: Path
) -> None:
    """Unless it is asked to tell who calls, a token is needed there too."""
    address = f"unix:{tmp_path / 's'}"
    start_server("--listen", address, database_url=database_url, GATEKEEPER_INSECURE="0")
    give(database_url, Role.AGENT, f"uid={os.getuid()}")
    with Client(address) as client:
        assert reason(client) == "TOKEN_MISSING"
