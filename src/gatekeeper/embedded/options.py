"""With which settings does the server run?

They are passed on the command line at every start, so a new release changes them for existing
data too, and nothing in the cluster overrides them.
"""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper.embedded.readable_copy import COPY_ROOTS

FIXED: Mapping[str, str] = {
    # Who may connect: this machine only, with a password.
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "cluster_name": "gatekeeper",
    # Durability is the product: an acknowledged commit is on disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # The hot path: small transactions on few rows, all of them in memory.
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_completion_target": "0.9",
    "jit": "off",  # compiling takes longer than our statements do
    "autovacuum_naptime": "10s",  # one hot row leaves thousands of dead versions a second
    # Times mean the same everywhere.
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A week of warnings: each weekday's file is begun anew.
    "log_min_messages": "warning",
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_file_mode": "0600",
    "log_line_prefix": "%m [%p] ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    """What to start.

    `port` 0 takes a free one, `options` are PostgreSQL settings that win over ours, `copy_roots`
    are where root may place binaries for an unprivileged user (see `readable_copy`).
    """

    data_dir: Path
    pg_bin: Path | None = None
    port: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 30.0
    copy_roots: tuple[Path, ...] = COPY_ROOTS


def server_options(postgres: Path, *, port: int, socket_dir: str, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the server `postgres`; `overrides` win over ours, not over the rest."""
    compression = {"wal_compression": "lz4"} if has_lz4(postgres) else {}
    place = {"port": str(port), "unix_socket_directories": socket_dir}
    return {**FIXED, **compression, **overrides, **place}


def has_lz4(postgres: Path) -> bool:
    """Tell whether the server was built with lz4; asking the server itself takes a start."""
    with postgres.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        return image.find(b"liblz4") >= 0


def as_arguments(options: Mapping[str, str]) -> list[str]:
    """Return `options` as PostgreSQL's command line takes them."""
    return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
