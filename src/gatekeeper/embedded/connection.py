"""How do other processes find the running server, and when do they believe what they find?

The launcher leaves a private record. It may be stale: after a kill -9 nobody removes it. It counts
when the process that it names still is the same process and a server there proves that it knows
the password.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from gatekeeper.embedded.errors import DataDirectoryUnusableError
from gatekeeper.embedded.layout import Layout, write_private
from gatekeeper.embedded.processes import look_up

SUPERUSER = "gatekeeper"
DATABASE = "gatekeeper"
HOST = "127.0.0.1"
CONNECT_TIMEOUT_S = 2  # the least that libpq accepts


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The record: `dsn` reaches the server `pid` that began at `started` (see `Process`)."""

    dsn: str
    pid: int
    started: str
    socket_dir: str


def dsn_of(*, password: str, port: int) -> str:
    """Return the URL of the database; `password` must not need quoting in URLs."""
    return f"postgresql://{SUPERUSER}:{password}@{HOST}:{port}/{DATABASE}"


def write_connection(layout: Layout, connection: Connection) -> None:
    """Leave the record for other processes of the same user."""
    write_private(layout.connection, json.dumps(asdict(connection), indent=1))


def read_connection(layout: Layout) -> Connection | None:
    """Return the record, stale or not; None when there is none that makes sense.

    Raises `DataDirectoryUnusableError` for a record of another user.
    """
    try:
        return Connection(**json.loads(layout.connection.read_bytes()))
    except PermissionError as error:
        raise DataDirectoryUnusableError(data_dir=layout.root, reason=error) from error
    except (OSError, ValueError, TypeError):
        return None


def is_same_process(connection: Connection) -> bool:
    """Tell whether the process that the record means is still running."""
    process = look_up(connection.pid)
    return process is not None and process.started == connection.started


def find_running(data_dir: Path) -> str | None:
    """Return the DSN of the server that runs on `data_dir`, None when none answers.

    Raises `DataDirectoryUnusableError` when it was started by another user.
    """
    connection = read_connection(Layout(data_dir))
    if connection is None or not is_same_process(connection) or not _answers(connection.dsn):
        return None
    return connection.dsn


def _answers(dsn: str) -> bool:
    """Connect once; scram makes both sides prove the password, so no stranger gets to see it."""
    try:
        psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S, require_auth="scram-sha-256").close()
    except psycopg.Error:
        return False
    return True
