"""How does the embedded PostgreSQL start and stop?

    with EmbeddedPostgres(EmbeddedSettings(data_dir=default_data_dir())) as postgres:
        psycopg.connect(postgres.dsn)

It ends with `stop()`; on Linux also when this process ends in any other way. Elsewhere a server
that was left behind is stopped by the next start on the same data directory.
"""

import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from gatekeeper.embedded.binaries import Installation, find_installation
from gatekeeper.embedded.cluster import ClusterPlan, open_cluster
from gatekeeper.embedded.connection import (
    CONNECT_TIMEOUT_S,
    DATABASE,
    Connection,
    dsn_of,
    write_connection,
)
from gatekeeper.embedded.errors import (
    DataDirectoryInUseError,
    DataDirectoryUnusableError,
    NotStartedError,
)
from gatekeeper.embedded.layout import Layout, open_layout
from gatekeeper.embedded.lock import sole_launcher
from gatekeeper.embedded.options import EmbeddedSettings, as_arguments, server_options
from gatekeeper.embedded.postmaster import clear_the_way
from gatekeeper.embedded.privileges import ServerPath, ServerUser, server_path, server_user
from gatekeeper.embedded.processes import child_command, look_up
from gatekeeper.embedded.readable_copy import readable_installation
from gatekeeper.embedded.server import (
    SocketPlace,
    await_ready,
    end_server,
    first_words,
    free_port,
    is_taken,
    socket_place,
    start_failed,
    start_server,
)

RETRY_S = 0.1
ORPHANS_REMAIN = "shared memory block"  # a killed server's processes have not all ended yet


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """All that stays the same however often the server process has to be started."""

    layout: Layout
    installation: Installation
    user: ServerUser | None
    password: str
    cluster: ServerPath
    socket: SocketPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    process: subprocess.Popen[bytes]
    dsn: str
    port: int
    site: _Site


class EmbeddedPostgres:
    """One PostgreSQL on one data directory, for the time between `start` and `stop`."""

    __slots__ = ("_server", "_settings", "_undo")

    def __init__(self, settings: EmbeddedSettings) -> None:
        """Remember `settings`; nothing happens before `start`."""
        self._settings = settings
        self._server: _Server | None = None
        self._undo = ExitStack()

    def start(self) -> None:
        """Start the server, creating the database where there is none, and wait until it answers.

        Also starts it again after it died. Raises an `EmbeddedError`.
        """
        if self.is_alive():
            raise DataDirectoryInUseError(data_dir=self._settings.data_dir, pid=self.pid)
        self.stop()
        try:
            with ExitStack() as undo:
                site = _prepare(self._settings, undo)
                self._server = _start(self._settings, site, undo)
                self._undo = undo.pop_all()
        except OSError as error:
            where = self._settings.data_dir
            raise DataDirectoryUnusableError(data_dir=where, reason=error) from error

    def stop(self) -> None:
        """Shut the server down and leave nothing but its data; does nothing when it is not started."""
        self._server = None
        self._undo.close()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def is_alive(self) -> bool:
        """Tell whether the server's process runs."""
        if self._server is None or self._server.process.poll() is not None:
            return False
        # Popen learns of the end from another thread, a moment after it.
        return look_up(self._server.process.pid) is not None

    @property
    def dsn(self) -> str:
        """The URL of the database, password included: a secret."""
        return self._started().dsn

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._started().process.pid

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        return self._started().port

    @property
    def socket_dir(self) -> Path:
        """The directory of the Unix socket, which libpq takes as `host`."""
        return self._started().site.socket.for_clients

    @property
    def bin_dir(self) -> Path:
        """The directory of the binaries that run."""
        return self._started().site.installation.bin_dir

    @property
    def log_dir(self) -> Path:
        """The directory of the server's log."""
        return self._started().site.layout.log_dir

    def _started(self) -> _Server:
        if self._server is None:
            raise NotStartedError
        return self._server


def _prepare(settings: EmbeddedSettings, undo: ExitStack) -> _Site:
    """Lock the data directory, create the cluster where it is missing, and clear the way."""
    layout = open_layout(settings.data_dir)
    undo.enter_context(sole_launcher(layout))
    user = server_user(layout.cluster, layout.root)
    installation = readable_installation(find_installation(settings.pg_bin), user, roots=settings.copy_roots)
    plan = ClusterPlan(
        layout=layout,
        installation=installation,
        user=user,
        durable=settings.options.get("fsync") != "off",
        timeout_s=settings.start_timeout_s,
    )
    password = open_cluster(plan)
    clear_the_way(layout, patience_s=settings.start_timeout_s)
    return _Site(
        layout=layout,
        installation=installation,
        user=user,
        password=password,
        cluster=undo.enter_context(server_path(user, layout.cluster)),
        socket=undo.enter_context(socket_place(layout, user)),
    )


def _start(settings: EmbeddedSettings, site: _Site, undo: ExitStack) -> _Server:
    """Start the server process until it stays; `undo` ends it."""
    deadline = time.monotonic() + settings.start_timeout_s
    while True:
        port = settings.port or free_port()
        with ExitStack() as attempt:
            server = _spawn(settings, site, port, attempt)
            if await_ready(site.layout, server.process, deadline=deadline):
                _ensure_database(server)
                undo.push(attempt.pop_all())
                return server
        orphans_remain = any(ORPHANS_REMAIN in line for line in first_words(site.layout))
        is_passing = orphans_remain or (not settings.port and is_taken(port))
        if not is_passing or time.monotonic() > deadline:
            raise start_failed(site.layout, "ended while it was starting")
        time.sleep(RETRY_S)


def _spawn(settings: EmbeddedSettings, site: _Site, port: int, undo: ExitStack) -> _Server:
    """Start the server process and leave the record that lets others find it."""
    options = server_options(
        site.installation.postgres,
        port=port,
        socket_dir=site.socket.for_server,
        overrides=settings.options,
    )
    command = [str(site.installation.postgres), "-D", site.cluster.name, *as_arguments(options)]
    wrapped = child_command(command, site.user, death_signal=signal.SIGINT)
    process, lifeline = start_server(site.layout, wrapped, site.cluster.fds)
    undo.callback(end_server, process, lifeline)
    dsn = dsn_of(password=site.password, port=port)
    if known := look_up(process.pid):
        undo.callback(site.layout.connection.unlink, missing_ok=True)
        socket_dir = str(site.socket.for_clients)
        write_connection(
            site.layout,
            Connection(dsn=dsn, pid=process.pid, started=known.started, socket_dir=socket_dir),
        )
    return _Server(process=process, dsn=dsn, port=port, site=site)


def _ensure_database(server: _Server) -> None:
    """Create our database; also after a launcher that was killed between initdb and here."""
    try:
        with psycopg.connect(
            server.dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, dbname="postgres"
        ) as connection:
            known = "SELECT FROM pg_database WHERE datname = %s"
            if connection.execute(known, [DATABASE]).fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.Error as error:
        raise start_failed(server.site.layout, f"refused its launcher ({error})") from error
