"""Where may a server listen with which transport, and what is said where it may not?"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from structlog.testing import capture_logs

from gatekeeper.addresses import ListenError
from gatekeeper.rpc.listen import Transport, listen, transport_of
from gatekeeper.rpc.tls import Certificates, TlsFiles
from gatekeeper.settings import load_settings
from tests.integration.certificates import Authority, Files, credentials
from tests.integration.echo import call, echoing, run

LOOPBACK = ("127.0.0.1:0", "127.8.9.10:0", "[::1]:0", "localhost:0")
ELSEWHERE = ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0", "example.invalid:0", "127.1:0")


def attempt(address: str, transport: Transport) -> str:
    """Listen, and stop at once; return where it was."""

    async def once() -> str:
        server = grpc.aio.server()
        try:
            return listen(server, address, transport)
        finally:
            await server.stop(0)

    return asyncio.run(once())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return certificates of a server."""
    folder = tmp_path_factory.mktemp("tls")
    return Certificates(Authority().write(folder, "localhost").tls, interval_s=1)


@pytest.mark.parametrize("insecure", [False, True])
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_is_always_allowed(address: str, tls: Certificates, *, encrypted: bool, insecure: bool) -> None:
    """Addresses of this machine may be listened on with and without TLS and tokens; the port that was taken is told."""
    bound = attempt(address, Transport(insecure=insecure, tls=tls if encrypted else None))
    host, _, port = bound.rpartition(":")
    assert host == address.rpartition(":")[0]
    assert int(port) > 0


@pytest.mark.parametrize("address", ELSEWHERE)
def test_who_asks_for_no_token_stays_on_this_machine(address: str, tls: Certificates) -> None:
    """Without tokens, nothing but loopback: neither TLS nor --allow-plaintext change that."""
    for transport in (
        Transport(insecure=True),
        Transport(insecure=True, tls=tls),
        Transport(insecure=True, allow_plaintext=True),
    ):
        with pytest.raises(ListenError, match="--insecure asks nobody"):
            attempt(address, transport)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_tokens_do_not_cross_a_network_in_the_clear(address: str) -> None:
    """Off loopback it takes TLS, or the word that plaintext is wanted; both are named."""
    with pytest.raises(ListenError, match=r"--tls-certificate and --tls-key, or --allow-plaintext"):
        attempt(address, Transport())


def test_off_loopback(tls: Certificates) -> None:
    """With TLS a wildcard address is fine; with --allow-plaintext as well, and the log says so each time."""
    assert attempt("0.0.0.0:0", Transport(tls=tls)).startswith("0.0.0.0:")
    with capture_logs() as logs:
        assert attempt("0.0.0.0:0", Transport(allow_plaintext=True)).startswith("0.0.0.0:")
    assert [line["event"] for line in logs] == ["listen.plaintext"]


@pytest.mark.parametrize(
    "address",
    [
        *("", ":", ":0", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:٥"),
        *("::1:0", "fe80::1:0", "[]:0", "tcp:127.0.0.1:0"),
    ],
)
def test_what_is_no_address(address: str, tls: Certificates) -> None:
    """What is not of the form HOST:PORT is refused, whatever is allowed; so are IPv6 addresses without brackets."""
    with pytest.raises(ListenError, match="give it as HOST:PORT or unix:PATH"):
        attempt(address, Transport(allow_plaintext=True, tls=tls))


@pytest.mark.parametrize("address", ["unix:@gatekeeper", "unix-abstract:gatekeeper", "unix-abstract:g:0", "unix:\0g"])
def test_abstract_sockets(address: str) -> None:
    """A socket that no mode keeps others from is refused."""
    with pytest.raises(ListenError, match="abstract sockets have no mode"):
        attempt(address, Transport())


@pytest.mark.parametrize("mode", [0o600, 0o660])
@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_the_mode_of_a_socket(tmp_path: Path, mode: int, umask: int) -> None:
    """A socket's file has the mode that is set, whatever the process's umask is, which stays as it was."""
    path = tmp_path / "s"

    async def once() -> int:
        server = grpc.aio.server()
        listen(server, f"unix:{path}", Transport(unix_mode=mode))
        try:
            return stat.S_IMODE(path.stat().st_mode)
        finally:
            await server.stop(0)

    before = os.umask(umask)
    try:
        assert asyncio.run(once()) == mode
    finally:
        assert os.umask(before) == umask


def test_localhost_that_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the name has another address as well, it does not count as this machine."""
    places = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 0)) for host in ("127.0.0.1", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: places)
    with pytest.raises(ListenError, match="--insecure asks nobody"):
        attempt("localhost:0", Transport(insecure=True))


def refusal(**settings: object) -> str:
    """Return what is said of settings that make no transport."""
    with pytest.raises(ListenError) as refused:
        transport_of(load_settings(listen=("0.0.0.0:50051",), **settings))
    return str(refused.value)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return the TLS files of a server."""
    return Authority().write(tmp_path, "localhost")


def test_a_part_of_what_tls_takes(files: Files) -> None:
    """A certificate needs a key, a key a certificate, and authorities both."""
    for given in (
        {"tls_certificate_file": files.certificate},
        {"tls_key_file": files.key},
        {"tls_client_ca_file": files.client_ca},
        {"tls_client_ca_file": files.client_ca, "tls_key_file": files.key},
    ):
        said = refusal(**given)
        assert said.startswith("Cannot listen on 0.0.0.0:50051: ")
        assert "TLS takes both --tls-certificate and --tls-key" in said


def encrypted(path: Path, form: serialization.PrivateFormat) -> bytes:
    """Return a key under a passphrase."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"passphrase")
    return key.private_bytes(serialization.Encoding.PEM, form, secret)


def test_tls_files_that_cannot_be_used(files: Files, tmp_path: Path) -> None:
    """Each is refused with the path and the reason, and never with what is in a file."""
    given = {
        "tls_certificate_file": files.certificate,
        "tls_key_file": files.key,
        "tls_client_ca_file": files.client_ca,
    }
    other = Authority().write(tmp_path / "other", "localhost")
    junk = tmp_path / "junk"
    junk.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0IHNlY3JldA==\n-----END PRIVATE KEY-----\n")
    missing = tmp_path / "missing"
    expected = {
        f"{missing}: No such file": {"tls_key_file": missing},
        f"{tmp_path}: Is a directory": {"tls_certificate_file": tmp_path},
        f"{other.key} are no certificate and its key in PEM format (key values mismatch)": {"tls_key_file": other.key},
        f"{junk} are no certificate": {"tls_key_file": junk},
        f"{junk} and {files.key} are no certificate": {"tls_certificate_file": junk},
        f"{junk} has no certificate of an authority": {"tls_client_ca_file": junk},
    }
    for sentence, wrong in expected.items():
        said = refusal(**(given | wrong))
        assert sentence in said
        assert "c2Vj" not in said
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        junk.write_bytes(encrypted(files.key, form))
        assert "is encrypted; give it without a passphrase" in refusal(**(given | {"tls_key_file": junk}))


def test_a_certificate_for_clients(tmp_path: Path) -> None:
    """A certificate that no client would take from a server is refused at the start."""
    files = Authority().write(tmp_path, "localhost", usage="client")
    assert "is none for servers" in refusal(tls_certificate_file=files.certificate, tls_key_file=files.key)


@pytest.mark.parametrize(
    ("key", "is_known"),
    [
        (ec.generate_private_key(ec.SECP256R1()), True),
        (ec.generate_private_key(ec.SECP384R1()), True),
        (rsa.generate_private_key(65_537, 2048), True),
        (ec.generate_private_key(ec.SECP521R1()), False),
        (ed25519.Ed25519PrivateKey.generate(), False),
    ],
    ids=lambda value: str(value.key_size if hasattr(value, "key_size") else type(value).__name__),
)
def test_kinds_of_keys(tmp_path: Path, key: Any, *, is_known: bool) -> None:
    """A key that gRPC's own clients cannot shake hands with is refused; with the others they can."""
    authority = Authority()
    files = authority.write(tmp_path, "localhost", key=key)
    given = {"tls_certificate_file": files.certificate, "tls_key_file": files.key}
    if not is_known:
        assert "RSA, P-256 and P-384 will do" in refusal(**given)
        return

    async def test() -> None:
        async with echoing(Transport(tls=Certificates(files.tls, interval_s=1))) as echo:
            target = echo.addresses[0].replace("127.0.0.1", "localhost")
            async with grpc.aio.secure_channel(target, credentials(authority)) as channel:
                assert await call(channel, "Echo", b"x") == b"x"

    run(test())


def test_a_certificate_that_has_expired(tmp_path: Path) -> None:
    """It is served, for those who know what they do, with a warning that names it."""
    files = Authority().write(tmp_path, "localhost", common_name="old", days=-1)
    with capture_logs() as logs:
        Certificates(files.tls, interval_s=1)
    assert [(line["event"], line["log_level"]) for line in logs] == [("tls.certificate_expired", "warning")]
    assert "commonName=old" in logs[0]["subject"]


def test_settings_make_a_transport(files: Files) -> None:
    """What is set is what is listened with."""
    plain = transport_of(load_settings(insecure=True, unix_mode="0660", unix_peers=True, connections_max=7))
    assert plain == Transport(insecure=True, unix_mode=0o660, unix_peers=True, connections_max=7)
    secure = transport_of(load_settings(tls_certificate_file=files.certificate, tls_key_file=files.key))
    assert secure.tls is not None


def test_a_chain_of_certificates(tmp_path: Path) -> None:
    """A certificate from an authority in between is shown with it; what is logged is the server's own."""
    root = trustme.CA()
    leaf = root.create_child_ca().issue_cert("localhost", common_name="leaf")
    files = TlsFiles(certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    files.certificate.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(files.key)
    with capture_logs() as logs:
        Certificates(files, interval_s=1)
    assert not logs
