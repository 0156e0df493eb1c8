"""How is a file read that holds a secret? Only a regular one that nobody but its owner may use."""

from __future__ import annotations

import os
import stat
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path, bytes_max: int) -> bytes:
    """Return what is in a file. Raises OSError, or ValueError with what is wrong with it, in words."""
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
        content = os.read(opened, bytes_max + 1)
    finally:
        os.close(opened)
    if len(content) > bytes_max:
        message = f"it is longer than {bytes_max} bytes"
        raise ValueError(message)
    return content
