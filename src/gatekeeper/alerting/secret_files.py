"""How are the secrets and addresses of channels read? One a line, from a file that only its owner may use."""

from __future__ import annotations

from pathlib import Path

from gatekeeper.private_file import read_private

from .failures import ChannelUnusable

# Room for some hundred secrets or addresses.
FILE_BYTES_MAX = 65_536


def read_lines(path: Path, setting: str) -> list[str]:
    """Return the lines of a file that a setting names, without blank ones and comments. Raises `ChannelUnusable`."""
    try:
        lines = [line.strip() for line in read_private(path, FILE_BYTES_MAX).decode().splitlines()]
    except OSError as error:
        raise ChannelUnusable(setting=setting, problem=f"{path}: {error.strerror or 'it cannot be read'}") from error
    except UnicodeDecodeError:
        # Without the bytes that it quotes.
        raise ChannelUnusable(setting=setting, problem=f"{path}: it is no UTF-8") from None
    except ValueError as error:
        raise ChannelUnusable(setting=setting, problem=f"{path}: {error}") from error
    return [line for line in lines if line and not line.startswith("#")]
