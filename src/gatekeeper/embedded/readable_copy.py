"""How does an unprivileged user run binaries of a package that it cannot walk to?

Only root asks. A virtual environment below a closed directory (/root, a `mktemp -d`) hides the
binaries from the user that PostgreSQL runs as. They are then copied, once for each content of the
package, to a place that everyone may enter. The copy is root's, readable for all, renamed into
place when complete, and compared with the package's own list before each use, because cleaners of
temporary directories take single files.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from gatekeeper.embedded.binaries import PACKAGE, Installation
from gatekeeper.embedded.errors import BinariesUnreachableError
from gatekeeper.embedded.privileges import ServerUser, is_private_to, reaches

# /var/cache first: only root writes there, and no cleaner passes by.
COPY_ROOTS = (Path("/var/cache"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - names are checked, owners too
# The binaries look for their libraries in the sibling directory: both must stay together.
NEEDED = (
    *(f"{PACKAGE}/pginstall/{part}/" for part in ("bin", "lib", "share")),
    f"{PACKAGE}.libs/",
)


def readable_installation(
    installation: Installation, user: ServerUser | None, *, roots: Sequence[Path] = COPY_ROOTS
) -> Installation:
    """Return `installation`, or a copy of it below one of `roots`, such that `user` can run it.

    Raises `BinariesUnreachableError`.
    """
    if reaches(user, installation.postgres) and reaches(user, installation.initdb):
        return installation
    copy = None
    if installation.package_root is not None and user is not None:
        copy = _package_copy(installation.package_root, user, roots)
    if copy is None:
        raise BinariesUnreachableError(user=user and user.name, path=installation.bin_dir)
    return replace(installation, bin_dir=copy / PACKAGE / "pginstall" / "bin")


def _package_copy(source: Path, user: ServerUser, roots: Sequence[Path]) -> Path | None:
    files = _listed_files(source)
    name = f"gatekeeper-postgresql-{_fingerprint(files)}"
    usable = [root.resolve() for root in roots if _runs_programs(root) and reaches(user, root)]
    for copy in (root / name for root in usable):
        if _is_complete(copy, files):
            return copy
    return next((root / name for root in usable if _copied(source, root / name, files)), None)


def _listed_files(source: Path) -> list[metadata.PackagePath]:
    """Return what the server needs of the package, as its installer recorded it."""
    found = next(iter(metadata.distributions(name=PACKAGE, path=[str(source)])), None)
    recorded = (found.files if found else None) or []
    return [
        file
        for file in recorded
        if file.as_posix().startswith(NEEDED) and file.suffix != ".a" and file.size is not None
    ]


def _fingerprint(files: list[metadata.PackagePath]) -> str:
    lines = sorted(f"{file.as_posix()} {file.hash and file.hash.value}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _runs_programs(root: Path) -> bool:
    return root.is_dir() and not os.statvfs(root).f_flag & getattr(os, "ST_NOEXEC", 0)


def _is_complete(copy: Path, files: list[metadata.PackagePath]) -> bool:
    """Tell whether `copy` is ours, not somebody's trap under the same name, and lacks nothing."""
    try:
        if not files or copy.is_symlink() or not is_private_to(os.geteuid(), copy.stat()):
            return False
        return all((copy / file).stat().st_size == file.size for file in files)
    except OSError:
        return False


def _copied(source: Path, copy: Path, files: list[metadata.PackagePath]) -> bool:
    """Copy `files` and publish them as `copy`; tell whether a complete copy is there now."""
    try:
        with tempfile.TemporaryDirectory(prefix=f"{copy.name}.", dir=copy.parent) as room:
            fresh = Path(room) / "fresh"
            for file in files:
                _copy_file(source / file, fresh / file)
            for directory in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
                directory.chmod(0o755)  # whatever the umask
            if copy.exists() and not _is_complete(copy, files):
                copy.rename(Path(room) / "damaged")
            fresh.rename(copy)
    except OSError:  # no room, a read-only root, or another launcher was faster
        pass
    return _is_complete(copy, files)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
