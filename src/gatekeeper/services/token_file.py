"""How does a secret get into a file that only its owner reads? In full or not at all, and never through a link."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from gatekeeper.domain.errors import InvalidField

FILE_MODE, FOLDER_MODE = 0o600, 0o700
SUFFIX_BYTES = 8
FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_secret(path: Path, secret: str) -> None:
    """Put a secret in a file of mode 0600, whatever is there; make its folder, with mode 0700, where it is missing.

    A link at `path` is replaced, what it leads to stays. Raises `InvalidField` about `operator_token_file`.
    """
    try:
        _make_folder(path.parent)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _replace(folder, path.name, f"{secret}\n".encode())
        finally:
            os.close(folder)
    except OSError as error:
        raise InvalidField(
            field="operator_token_file", problem=f"{path} cannot be written: {error.strerror}"
        ) from error


def read_secret(path: Path) -> str | None:
    """Return what stands in such a file; None: there is none. Raises `InvalidField` about `operator_token_file`."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidField(field="operator_token_file", problem=f"{path} cannot be read: {error.strerror}") from error


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(FOLDER_MODE)


def _replace(folder: int, name: str, content: bytes) -> None:
    """Write a fresh file beside, and give it the name."""
    fresh = f".{name}.{secrets.token_hex(SUFFIX_BYTES)}"
    try:
        with os.fdopen(os.open(fresh, FRESH, FILE_MODE, dir_fd=folder), "wb") as file:
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        raise
