"""Where do tests get certificates from, of all kinds?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatekeeper.rpc.tls import TlsFiles

USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the files of a server are."""

    certificate: Path
    key: Path
    client_ca: Path

    @property
    def tls(self) -> TlsFiles:
        return TlsFiles(certificate=self.certificate, key=self.key)

    @property
    def mutual(self) -> TlsFiles:
        return TlsFiles(certificate=self.certificate, key=self.key, client_ca=self.client_ca)


class Authority:
    """An authority that certifies whatever it is asked for."""

    def __init__(self) -> None:
        ca = trustme.CA()
        self.pem = ca.cert_pem.bytes()
        self._certificate = x509.load_pem_x509_certificate(self.pem)
        self._key = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)

    def issue(
        self,
        *names: x509.GeneralName,
        common_names: Iterable[str] = (),
        days: float = 1,
        usage: str | None = None,
        key: Any = None,
    ) -> Pair:
        """Certify a key, or a new one, for so many days from now; a negative number is how long ago that was over."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=min(days, 0) - 1))
            .not_valid_after(now + timedelta(days=days))
        )
        if names:
            certificate = certificate.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage is not None:
            certificate = certificate.add_extension(x509.ExtendedKeyUsage([USAGES[usage]]), critical=False)
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        return Pair(
            certificate=certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM),
            key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def server(self, host: str, *, common_name: str = "", **options: Any) -> Pair:
        """Certify a server; options as of `issue`."""
        return self.issue(x509.DNSName(host), common_names=(common_name,) if common_name else (), **options)

    def write(self, folder: Path, host: str, **options: Any) -> Files:
        """Write what a server of that name needs, and this authority for its clients, into a folder."""
        folder.mkdir(exist_ok=True)
        files = Files(
            certificate=folder / "tls.crt",
            key=folder / "tls.key",
            client_ca=folder / "ca.crt",
        )
        pair = self.server(host, **options)
        files.certificate.write_bytes(pair.certificate)
        files.key.write_bytes(pair.key)
        files.client_ca.write_bytes(self.pem)
        return files


def spiffe(path: str) -> x509.GeneralName:
    """Return a SPIFFE ID of a test's domain."""
    return x509.UniformResourceIdentifier(f"spiffe://example.test/{path}")


def credentials(*trusted: Authority, shown: Pair | None = None) -> grpc.ChannelCredentials:
    """Return what a client trusts and shows."""
    roots = b"".join(authority.pem for authority in trusted)
    if shown is None:
        return grpc.ssl_channel_credentials(roots)
    return grpc.ssl_channel_credentials(roots, shown.key, shown.certificate)


def swap(link: Path, folder: Path) -> None:
    """Let a symbolic link name another folder from one instant to the next, as Kubernetes does."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(folder, target_is_directory=True)
    new.replace(link)
