"""Where does the secret come from that seals the audit trail? From a file that only its owner can read.

Each line of the file holds 32 bytes in hex or base64: the first one seals, those below it sealed before and still
verify. Every process on a database takes the same; who has it can forge seals, and without it none of those that were
made with it can be checked.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.errors import GatekeeperError
from gatekeeper.private_file import read_private

SECRET_BYTES = 32
# Room for some fifty keys.
FILE_BYTES_MAX = 4096
HEX = re.compile(rf"[0-9a-fA-F]{{{2 * SECRET_BYTES}}}")
MISSING = (
    "there is no such file; take the one of the other processes on this database, or put a line of"
    " `openssl rand -base64 32` there, with mode 0600"
)


class AuditKeyUnusable(GatekeeperError):
    """The audit key {path} cannot be used: {problem}."""


def load(path: Path | None, *, create: bool) -> AuditKey:
    """Return the key in a file, with older ones, which is made first where it is missing and `create` says so.

    None: a key without a secret. Processes that make it at the same time end up with the same one.
    Raises `AuditKeyUnusable`.
    """
    if path is None:
        return AuditKey()
    try:
        if create and not path.exists():
            _make(path)
        return _keys(read_private(path, FILE_BYTES_MAX))
    except FileNotFoundError as error:
        raise AuditKeyUnusable(path=str(path), problem=MISSING) from error
    except OSError as error:
        raise AuditKeyUnusable(path=str(path), problem=error.strerror or "it cannot be read") from error
    except ValueError as error:
        raise AuditKeyUnusable(path=str(path), problem=str(error)) from error


def _make(path: Path) -> None:
    """Write a new secret under another name and link it: nobody sees half a file, and the first one stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    line = base64.b64encode(secrets.token_bytes(SECRET_BYTES)) + b"\n"
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Keep the name through a crash: seals that were made with a lost key are worth nothing."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _keys(content: bytes) -> AuditKey:
    lines = content.decode("ascii", "replace").split()
    if not lines:
        message = "it is empty"
        raise ValueError(message)
    first, *older = map(_decoded, lines)
    return AuditKey(first, tuple(map(AuditKey, older)))


def _decoded(text: str) -> bytes:
    if HEX.fullmatch(text):
        return bytes.fromhex(text)
    with suppress(binascii.Error, ValueError):
        standard = text.rstrip("=").translate(str.maketrans("-_", "+/"))
        secret = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        if len(secret) == SECRET_BYTES:
            return secret
    message = f"it takes lines of {SECRET_BYTES} bytes in hex or base64"
    raise ValueError(message)
