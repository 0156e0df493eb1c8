"""Where may the embedded PostgreSQL and its data lie, and who gets at them?"""

import importlib.util
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gatekeeper.embedded import (
    BinariesNotFoundError,
    BinariesUnreachableError,
    DataDirectoryUnusableError,
    DataDirectoryVersionError,
    EmbeddedPostgres,
    EmbeddedSettings,
    StartFailedError,
    default_data_dir,
    find_running,
)
from gatekeeper.embedded.binaries import PACKAGE, system_directories, system_installation
from gatekeeper.embedded.processes import look_up
from gatekeeper.embedded.server import free_port

IS_ROOT = os.geteuid() == 0


def server(data_dir: Path, **settings: Any) -> EmbeddedPostgres:
    """Return a small server, not started."""
    small = {"fsync": "off", "shared_buffers": "16MB"}
    return EmbeddedPostgres(replace(EmbeddedSettings(data_dir=data_dir, options=small), **settings))


def ask(dsn: str, query: str, **how: str) -> object:
    """Return the first column of the first row of `query`."""
    with psycopg.connect(dsn, **how) as connection:  # type: ignore[arg-type]
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


def test_another_major_version_is_refused(tmp_path: Path) -> None:
    """Data of another PostgreSQL is left alone, and the message tells both ways out."""
    with server(tmp_path):
        pass
    (tmp_path / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(DataDirectoryVersionError, match=r"PostgreSQL 14.*--pg-bin.*dump"):
        server(tmp_path).start()


def test_a_data_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    """Neither a file nor a foreign cluster becomes a data directory."""
    (tmp_path / "PG_VERSION").write_text("18\n")
    for place in (tmp_path, tmp_path / "PG_VERSION"):
        with pytest.raises(DataDirectoryUnusableError, match="--data-dir"):
            server(place).start()


def test_an_interrupted_creation_starts_over(tmp_path: Path) -> None:
    """What a killed initdb has left is thrown away."""
    (tmp_path / "staging" / "cluster").mkdir(parents=True)
    (tmp_path / "staging" / "cluster" / "PG_VERSION").write_text("18\n")
    (tmp_path / "password").write_text("of a cluster that never was")
    with server(tmp_path) as postgres:
        assert ask(postgres.dsn, "SELECT 1") == 1
    assert not (tmp_path / "staging").exists()


def test_long_and_odd_paths_work(tmp_path: Path) -> None:
    """Spaces, quotes and length in the path matter neither to the server nor to its socket."""
    with server(tmp_path / "a b'c \"ü" / ("long" * 30)) as postgres:
        socket_dir = postgres.socket_dir
        assert len(str(socket_dir)) < 90
        assert socket_dir.stat().st_mode & 0o777 == 0o700
        assert ask(postgres.dsn, "SELECT inet_client_addr()", host=str(socket_dir)) is None
    assert not socket_dir.exists()


def test_missing_binaries_come_with_a_hint(tmp_path: Path) -> None:
    """A directory without PostgreSQL is refused with both remedies."""
    with pytest.raises(BinariesNotFoundError, match=r"pip install 'budget-gatekeeper.*--pg-bin"):
        server(tmp_path / "d", pg_bin=tmp_path).start()


def test_a_system_postgresql_will_do(tmp_path: Path) -> None:
    """A PostgreSQL of the system serves when it is asked for."""
    found = system_installation(system_directories())
    if found is None:
        pytest.skip("no PostgreSQL >= 15 on this system")
    with server(tmp_path, pg_bin=found.bin_dir) as postgres:
        assert postgres.bin_dir == found.bin_dir
        assert ask(postgres.dsn, "SHOW server_encoding") == "UTF8"


def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    """A wrong password is refused over TCP and over the socket."""
    with server(tmp_path) as postgres:
        for host in ("127.0.0.1", str(postgres.socket_dir)):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                ask(postgres.dsn, "SELECT 1", host=host, password="wrong")


def test_the_server_knows_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs without privileges and without the launcher's environment."""
    monkeypatch.setenv("API_TOKEN", "for our eyes only")
    with server(tmp_path) as postgres, psycopg.connect(postgres.dsn) as connection:
        connection.execute("CREATE TABLE told (line text)")
        connection.execute("COPY told FROM PROGRAM 'id -u; env'")
        uid, *environment = [row[0] for row in connection.execute("SELECT line FROM told")]
    assert uid != "0"
    assert "TZ=UTC" in environment
    assert not [line for line in environment if "API_TOKEN" in line]


def test_a_given_port_is_used_or_its_loss_explained(tmp_path: Path) -> None:
    """The port that was asked for is taken; when it is not free, the message says so."""
    port = free_port()
    with server(tmp_path / "a", port=port) as first:
        assert first.port == port
        with pytest.raises(StartFailedError, match="Address already in use"):
            server(tmp_path / "b", port=port).start()
    assert find_running(tmp_path / "b") is None


@pytest.fixture
def closed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that only we may enter, with the package that comes first on the path."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for source in Path(spec.submodule_search_locations[0]).parent.glob(f"{PACKAGE}*"):
        shutil.copytree(source, closed / source.name)
    monkeypatch.syspath_prepend(closed)
    return closed


def test_data_and_binaries_may_both_lie_in_a_closed_directory(closed_package: Path) -> None:
    """Below a directory that nobody else may enter all works, and a damaged copy is mended."""
    with tempfile.TemporaryDirectory() as room:
        Path(room).chmod(0o755)
        roots = (closed_package, Path(room))
        postgres = server(closed_package / "d", copy_roots=roots)
        for _ in range(2):
            with postgres:
                assert postgres.bin_dir.is_relative_to(room if IS_ROOT else closed_package)
                assert ask(postgres.dsn, "SELECT 1") == 1
            for taken in Path(room).rglob("postgres.bki"):
                taken.unlink()
        assert len(list(Path(room).iterdir())) == int(IS_ROOT)
        assert closed_package.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not IS_ROOT, reason="only root drops privileges")
def test_binaries_that_cannot_be_reached_or_copied_are_refused(closed_package: Path) -> None:
    """A closed directory that is not the package's, or has nowhere to go, is named."""
    bin_dir = closed_package / PACKAGE / "pginstall" / "bin"
    with pytest.raises(BinariesUnreachableError, match="--pg-bin"):
        server(closed_package / "d", pg_bin=bin_dir).start()
    with pytest.raises(BinariesUnreachableError, match="ordinary user"):
        server(closed_package / "d", copy_roots=(closed_package,)).start()


@pytest.mark.skipif(not IS_ROOT, reason="only root drops privileges")
def test_root_leaves_data_with_the_user_who_owns_it(tmp_path: Path) -> None:
    """Root that starts an ordinary user's server leaves nothing that this user cannot use."""
    nobody = 65534
    os.chown(tmp_path, nobody, nobody)
    with server(tmp_path) as postgres:
        process = look_up(postgres.pid)
        assert process is not None
        assert process.uid == nobody
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {nobody}


def test_the_data_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_DATA_HOME moves the default data directory, for root too."""
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere/else")
    assert default_data_dir() == Path("/somewhere/else/gatekeeper")


@pytest.mark.skipif(not IS_ROOT, reason="only root drops privileges")
def test_where_the_way_is_open_the_server_knows_its_directory_by_name() -> None:
    """A data directory that the server's user can walk to needs no detour."""
    with tempfile.TemporaryDirectory() as room:
        Path(room).chmod(0o755)
        (Path(room) / "d").mkdir(mode=0o755)
        with server(Path(room) / "d") as postgres:
            assert ask(postgres.dsn, "SHOW data_directory") == f"{room}/d/postgres"
