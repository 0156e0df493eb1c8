"""Which certificate does the server show, and how does a new one get in without a restart?"""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import structlog

log = structlog.get_logger(__name__)

# gRPC frees what it used so far although another of its threads may be about to start a handshake with it
# (grpc/grpc#36693). None is about to for so long.
TAKEN_UP_S = 0.05
ENCRYPTED = b"ENCRYPTED"
# How a certificate tells its key's kind: RSA, or a point on P-256 or P-384. gRPC's clients know no other, though
# OpenSSL does.
KEY_KINDS = (
    bytes.fromhex("300d06092a864886f70d0101010500"),
    bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"),
    bytes.fromhex("301006072a8648ce3d020106052b81040022"),
)
# X509_V_FLAG_NO_CHECK_TIME, which `ssl` has no name for.
NO_CHECK_TIME = 0x200000


class TlsError(Exception):
    """Why TLS files cannot be used; without anything that is in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the server's certificate chain, its key, and the authorities that clients must have theirs from."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Contents:
    """What is in TLS files; never shown."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What is logged of a certificate."""

    subject: str
    expires_at: datetime


class Certificates:
    """The TLS files as they were when they were last good. gRPC asks from threads of its own."""

    def __init__(self, files: TlsFiles, interval_s: float) -> None:
        """Read the files; later at most once in `interval_s`. Raises `TlsError` for files that cannot be used."""
        self._files = files
        self._interval_s = interval_s
        self._looking = threading.Lock()
        self._looked_at_s = time.monotonic()
        self._current = read(files)
        self._found: Contents | str = self._current
        _warn_if_expired(check(files, self._current))

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials for one listener, which from then on follow the files."""
        given = self._current

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            current = self._fresh()
            if current is given:
                return None
            given = current
            time.sleep(TAKEN_UP_S)
            return _configuration(current)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given),
            fetch,  # type: ignore[arg-type] # the stubs do not know that None means no change
            require_client_authentication=self._files.client_ca is not None,
        )

    def _fresh(self) -> Contents:
        """Return what to show now; never raises. A thread that meets another one looking goes on with what there is."""
        if not self._looking.acquire(blocking=False):
            return self._current
        try:
            if time.monotonic() - self._looked_at_s >= self._interval_s:
                self._looked_at_s = time.monotonic()
                self._look()
        except Exception:
            log.exception("tls.reload_failed")
        finally:
            self._looking.release()
        return self._current

    def _look(self) -> None:
        """Take up what is in the files if it is new and good; say so if it is bad, once."""
        found: Contents | str = ""
        try:
            found = read(self._files)
            if found == self._found:
                return
            certificate = check(self._files, found)
            if read(self._files) != found:
                # They are being written: what was checked may be neither the old set nor the new one.
                return
        except TlsError as error:
            self._refuse(found or str(error), str(error))
            return
        self._current = self._found = found
        log.info("tls.reloaded", subject=certificate.subject, expires_at=certificate.expires_at.isoformat())
        _warn_if_expired(certificate)

    def _refuse(self, found: Contents | str, problem: str) -> None:
        if found != self._found:
            self._found = found
            log.error("tls.reload_failed", problem=problem)


def read(files: TlsFiles) -> Contents:
    """Return what is in the files. Raises `TlsError`."""
    try:
        return Contents(
            certificate=files.certificate.read_bytes(),
            key=files.key.read_bytes(),
            client_ca=None if files.client_ca is None else files.client_ca.read_bytes(),
        )
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise TlsError(message) from error


def check(files: TlsFiles, contents: Contents) -> Certificate:
    """Return whose certificate it is, after a handshake with it. Raises `TlsError` for files that cannot be used."""
    if ENCRYPTED in contents.key:
        message = f"the key in {files.key} is encrypted; give it without a passphrase"
        raise TlsError(message)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password, OpenSSL would ask the terminal for one.
        server.load_cert_chain(files.certificate, files.key, password="")
    except OSError as error:
        message = f"{files.certificate} and {files.key} are no certificate and its key in PEM format ({_why(error)})"
        raise TlsError(message) from error
    if files.client_ca is not None:
        _check_authorities(server, files.client_ca)
    try:
        client = _client_of(server, files.certificate)
    except OSError as error:
        message = f"the certificate in {files.certificate} is none for servers ({_why(error)})"
        raise TlsError(message) from error
    if not any(kind in (client.getpeercert(binary_form=True) or b"") for kind in KEY_KINDS):
        message = f"the key in {files.key} is of a kind that gRPC does not know; RSA, P-256 and P-384 will do"
        raise TlsError(message)
    return _described(client.getpeercert())


def _check_authorities(server: ssl.SSLContext, path: Path) -> None:
    try:
        server.load_verify_locations(cafile=path)
    except OSError as error:
        message = f"{path} has no certificate of an authority in PEM format ({_why(error)})"
        raise TlsError(message) from error


def _client_of(server: ssl.SSLContext, path: Path) -> ssl.SSLObject:
    """Return a client that trusts the server's certificate as it is, after its handshake. So `ssl` can read one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cafile=path)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, peer = context.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for end in (client, peer) * 2:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client


def _described(fields: Any) -> Certificate:
    return Certificate(
        subject=", ".join(f"{name}={text}" for part in fields["subject"] for name, text in part),
        expires_at=datetime.fromtimestamp(ssl.cert_time_to_seconds(fields["notAfter"]), UTC),
    )


def _why(error: OSError) -> str:
    """Return what OpenSSL says, which is never a part of a file."""
    return (getattr(error, "reason", None) or "unreadable").lower().replace("_", " ")


def _configuration(contents: Contents) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(contents.key, contents.certificate)], contents.client_ca)


def _warn_if_expired(certificate: Certificate) -> None:
    if certificate.expires_at <= datetime.now(UTC):
        log.warning(
            "tls.certificate_expired", subject=certificate.subject, expires_at=certificate.expires_at.isoformat()
        )
