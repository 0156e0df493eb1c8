"""As whom does PostgreSQL run, and how does that user reach the data?

PostgreSQL refuses to run as root. Started by root, we therefore run it as an existing user
without privileges: the one that already owns the data, else `postgres`, else `nobody`.

That user often cannot walk to the data: the default place is below /root, which is closed (0700).
Opening up parents would expose what else lies there, capabilities would let every SQL superuser
read the whole machine, and a mount namespace needs rights that containers lack. So the launcher,
as root, opens the directory and hands the server the descriptor: `/proc/self/fd/N` leads
straight to the directory, and only the directory's own permissions count. PostgreSQL takes that
path as its data directory, changes into it, and every process it forks inherits the descriptor.
Binaries cannot be reached like this (they resolve their own path): see `readable_copy`.

Without /proc (macOS) root needs a data directory that the user can walk to.
"""

import os
import pwd
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatekeeper.embedded.errors import (
    DataDirectoryUnusableError,
    UnprivilegedUserMissingError,
    UnprivilegedUserRefusedError,
)

ROOT_UID = 0
USER_NAMES = ("postgres", "nobody")
SEARCH, READ_AND_SEARCH = 0o1, 0o5


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUser:
    """The user that PostgreSQL runs as, when that is not the user who launches it."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPath:
    """A directory by the name that the server uses; `fds` must be passed on to the server."""

    name: str
    fds: tuple[int, ...] = ()


def server_user(*owned: Path) -> ServerUser | None:
    """Return the user to drop to: None unless we are root, else the first owner of `owned`.

    Paths that are absent or root's are passed over. Raises `UnprivilegedUserMissingError`.
    """
    if os.geteuid() != ROOT_UID:
        return None
    owners = (path.stat() for path in owned if path.exists())
    owner = next((status for status in owners if status.st_uid != ROOT_UID), None)
    return _ordinary_user() if owner is None else _owning_user(owner)


def _owning_user(status: os.stat_result) -> ServerUser:
    try:
        entry = pwd.getpwuid(status.st_uid)
    except KeyError:  # a number without a name still owns files
        return ServerUser(name=f"uid {status.st_uid}", uid=status.st_uid, gid=status.st_gid)
    return ServerUser(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def _ordinary_user() -> ServerUser:
    known = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != ROOT_UID}
    for name in USER_NAMES:
        if entry := known.get(name):
            return ServerUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise UnprivilegedUserMissingError(names=", ".join(USER_NAMES))


def reaches(user: ServerUser | None, path: Path) -> bool:
    """Tell whether `user` (None: we ourselves) can walk to `path` and read it.

    Mode bits only: an access list that allows more is overlooked, which costs a detour, no more.
    """
    if user is None:
        return True
    target = path.resolve()
    return _permits(user, target, READ_AND_SEARCH) and all(_permits(user, parent, SEARCH) for parent in target.parents)


def _permits(user: ServerUser, path: Path, wanted: int) -> bool:
    status = path.stat()
    if status.st_uid == user.uid:
        granted = status.st_mode >> 6
    elif status.st_gid == user.gid:
        granted = status.st_mode >> 3
    else:
        granted = status.st_mode
    return granted & wanted == wanted


@contextmanager
def server_path(user: ServerUser | None, directory: Path) -> Iterator[ServerPath]:
    """Yield a name for `directory` that works for a server which runs as `user`.

    Raises `DataDirectoryUnusableError` where there is no such name.
    """
    if reaches(user, directory):
        yield ServerPath(name=str(directory))
        return
    if sys.platform != "linux":
        reason = "the unprivileged user cannot walk to it"
        raise DataDirectoryUnusableError(data_dir=directory, reason=reason)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield ServerPath(name=f"/proc/self/fd/{fd}", fds=(fd,))
    finally:
        os.close(fd)


def give(path: Path, user: ServerUser | None) -> None:
    """Make `user` the owner of the directory or file `path`, which must not be a link.

    Raises `UnprivilegedUserRefusedError`, as in a container whose root has no rights.
    """
    if user is None:
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchown(fd, user.uid, user.gid)
    except OSError as error:
        raise UnprivilegedUserRefusedError(user=user.name, path=path, reason=error) from error
    finally:
        os.close(fd)


def give_tree(root: Path, user: ServerUser | None) -> None:
    """Give `user` everything below `root` when root owns it, as after a restore by root."""
    if user is None or root.stat().st_uid == user.uid:
        return
    for directory, _, files in os.walk(root):
        for name in (directory, *(os.path.join(directory, file) for file in files)):  # noqa: PTH118 - os.walk speaks strings
            os.chown(name, user.uid, user.gid, follow_symlinks=False)


def is_private_to(uid: int, status: os.stat_result) -> bool:
    """Tell whether only `uid` (and root) can have put there what `status` describes."""
    return status.st_uid == uid and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
