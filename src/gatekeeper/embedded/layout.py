"""What lies where in a data directory?

DATA_DIR/                 0700, of whoever launches
├── postgres/             the cluster, of the user that PostgreSQL runs as; its log in log/
├── staging/              only while initdb runs: a cluster that is not complete yet
├── password              the superuser's, 0600
├── connection.json       how to reach the running server, 0600; absent after a clean stop
├── launcher.lock         held by the launcher; names its process id
└── startup.log           what PostgreSQL said before its own log was open
"""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from gatekeeper.embedded.errors import DataDirectoryUnusableError
from gatekeeper.embedded.privileges import ROOT_UID

TEXT_BYTES_MAX = 64 * 1024  # of a file that the server's user wrote; we want its last lines only


def default_data_dir() -> Path:
    """Return the user's data directory for us, root's too; XDG_DATA_HOME moves it."""
    return Path(platformdirs.user_data_dir("gatekeeper"))


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one data directory."""

    root: Path

    @property
    def cluster(self) -> Path:
        """The directory that PostgreSQL calls its data directory."""
        return self.root / "postgres"

    @property
    def staging(self) -> Path:
        """The directory in which initdb works."""
        return self.root / "staging"

    @property
    def password(self) -> Path:
        """The file with the superuser's password."""
        return self.root / "password"

    @property
    def connection(self) -> Path:
        """The file that tells other processes how to connect."""
        return self.root / "connection.json"

    @property
    def lock(self) -> Path:
        """The file that the launcher locks."""
        return self.root / "launcher.lock"

    @property
    def startup_log(self) -> Path:
        """The file for the first words of the server."""
        return self.root / "startup.log"

    @property
    def log_dir(self) -> Path:
        """The directory of the server's own log."""
        return self.cluster / "log"

    @property
    def postmaster_pid(self) -> Path:
        """PostgreSQL's own lock file."""
        return self.cluster / "postmaster.pid"


def open_layout(data_dir: Path) -> Layout:
    """Create `data_dir` where it is missing and return its layout.

    Raises `DataDirectoryUnusableError`.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout = Layout(data_dir.resolve())
    except OSError as error:
        raise DataDirectoryUnusableError(data_dir=data_dir, reason=error) from error
    if (layout.root / "PG_VERSION").exists():
        reason = "it is a PostgreSQL cluster of its own"
        raise DataDirectoryUnusableError(data_dir=data_dir, reason=reason)
    return layout


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` at once or not at all, durably, readable for its directory's owner."""
    fd, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            as_parent(file.fileno(), path.parent)
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def as_parent(fd: int, parent: Path) -> None:
    """Give the file `fd` that root made in an ordinary user's directory to that user."""
    if os.geteuid() == ROOT_UID:
        owner = parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_owned(path: Path, uid: int) -> str | None:
    """Return the end of the text of `path`; None unless it is a plain file that `uid` owns.

    The server's user may put a link to anybody's file there, which root must not follow.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != uid:
            return None
        file.seek(max(0, status.st_size - TEXT_BYTES_MAX))
        return file.read(TEXT_BYTES_MAX).decode(errors="replace")
