"""How is a file read that holds a secret? Only a regular one that nobody but its owner may use."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .failures import ChannelUnusable

# Room for some hundred secrets or addresses.
FILE_BYTES_MAX = 65_536
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_lines(path: Path, setting: str) -> list[str]:
    """Return the lines of a file that a setting names, without blank ones and comments. Raises `ChannelUnusable`."""
    try:
        lines = [line.strip() for line in _read(path).decode().splitlines()]
    except OSError as error:
        raise ChannelUnusable(setting=setting, problem=f"{path}: {error.strerror or 'it cannot be read'}") from error
    except UnicodeDecodeError:
        # Without the bytes that it quotes.
        raise ChannelUnusable(setting=setting, problem=f"{path}: it is no UTF-8") from None
    except ValueError as error:
        raise ChannelUnusable(setting=setting, problem=f"{path}: {error}") from error
    return [line for line in lines if line and not line.startswith("#")]


def _read(path: Path) -> bytes:
    # A pipe would keep us waiting for who writes to it.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            message = "it is no regular file"
            raise ValueError(message)
        if found.st_mode & OTHERS:
            message = f"others than its owner may use it (mode {found.st_mode & 0o777:04o}); run `chmod 600`"
            raise ValueError(message)
        if found.st_size > FILE_BYTES_MAX:
            message = f"it is longer than {FILE_BYTES_MAX} bytes"
            raise ValueError(message)
        return os.read(opened, FILE_BYTES_MAX)
    finally:
        os.close(opened)
