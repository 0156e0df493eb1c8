"""Who is this program to the server, and who may the server be? Its token, and the files of TLS."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc

if TYPE_CHECKING:
    from collections.abc import Mapping

File: TypeAlias = str | os.PathLike[str]

TOKEN: Final = re.compile(r"[!-~]+")  # gRPC refuses anything else in metadata, and its message would show the token
TOKEN_LENGTH_MAX: Final = 4096  # servers take 8 kB of metadata with a call
TLS_VARIABLES: Final = {
    "ca_file": "GATEKEEPER_CA_FILE",
    "certificate_file": "GATEKEEPER_CERTIFICATE_FILE",
    "key_file": "GATEKEEPER_KEY_FILE",
}


def token_of(given: str | None) -> str:
    """Return the token to show: the given one, else GATEKEEPER_TOKEN, else what is in the file GATEKEEPER_TOKEN_FILE.

    Without any, and where "" is given, it is empty. Raises ValueError for what is no token; its text is never told.
    """
    if given is not None:
        return given and _checked(given, "the token")
    if token := os.environ.get("GATEKEEPER_TOKEN"):
        return _checked(token, "GATEKEEPER_TOKEN")
    path = os.environ.get("GATEKEEPER_TOKEN_FILE")
    return read_token(path) if path else ""


def read_token(path: File) -> str:
    """Return the token that a file holds; raises ValueError for a file that cannot be read, or holds none."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(TOKEN_LENGTH_MAX + 2)
    except OSError as error:
        msg = f"token file {path}: {error.strerror}"
        raise ValueError(msg) from None
    return _checked(content.decode("latin-1").strip(), f"token file {path}")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that shows a token."""
    return (("authorization", f"Bearer {token}"),) if token else ()


def tls_credentials(
    *, ca_file: File | None = None, certificate_file: File | None = None, key_file: File | None = None
) -> grpc.ChannelCredentials:
    """Return credentials for TLS, from PEM files that are read now.

    `ca_file` has the authorities that may vouch for the server, instead of the public ones. `certificate_file` and
    `key_file` are this program's own, for servers that ask for a certificate. Raises ValueError, which names the file.
    """
    if (certificate_file is None) != (key_file is None):
        msg = "a certificate file needs a key file, and a key file a certificate file"
        raise ValueError(msg)
    authorities, certificate, key = (_pem(file) for file in (ca_file, certificate_file, key_file))
    _require_sound(ca_file, certificate_file, key_file)
    return grpc.ssl_channel_credentials(authorities, key, certificate)


def tls_files() -> Mapping[str, str]:
    """Return the files of TLS that the environment names, as `tls_credentials` takes them."""
    return {name: path for name, variable in TLS_VARIABLES.items() if (path := os.environ.get(variable))}


def _checked(token: str, where: str) -> str:
    if not token:
        problem = "is empty"
    elif len(token) > TOKEN_LENGTH_MAX:
        problem = f"is longer than {TOKEN_LENGTH_MAX} characters"
    elif not TOKEN.fullmatch(token):
        problem = "has white space, control characters or characters beyond ASCII"
    else:
        return token
    msg = f"{where} {problem}"
    raise ValueError(msg)


def _pem(path: File | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        msg = f"TLS file {path}: {error.strerror}"
        raise ValueError(msg) from None


def _require_sound(ca_file: File | None, certificate_file: File | None, key_file: File | None) -> None:
    """Look at the files as OpenSSL does: gRPC would only say, at the first call, that nothing answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looked_at = f"CA file {ca_file}"
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
        looked_at = f"certificate file {certificate_file} and key file {key_file}"
        if certificate_file is not None:
            context.load_cert_chain(certificate_file, key_file, password="")  # not asked for on the terminal
    except ssl.SSLError as error:
        msg = f"{looked_at}: {error.reason or 'one is not PEM, or the key is encrypted'}"
        raise ValueError(msg) from None
