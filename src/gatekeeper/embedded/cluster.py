"""How does a cluster come into being, and which binaries may open it?

initdb works in a staging directory, whose result gets its name when it is complete and on disk.
So a cluster is there or not; one that was interrupted is thrown away.
"""

import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass

from gatekeeper.embedded.binaries import Installation
from gatekeeper.embedded.connection import SUPERUSER
from gatekeeper.embedded.errors import DataDirectoryVersionError, InitializationFailedError
from gatekeeper.embedded.layout import Layout, sync_directory, write_private
from gatekeeper.embedded.privileges import (
    ServerPath,
    ServerUser,
    give,
    give_tree,
    server_path,
)
from gatekeeper.embedded.processes import child_command, environment

PASSWORD_BYTES = 32
BUILTIN_LOCALES_SINCE = 17
LOG_LINES_MAX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlan:
    """Where a cluster is, which binaries open it, and as whom.

    `durable` False skips the syncs on creation, for clusters that nobody needs after a crash;
    creating it may take `timeout_s`.
    """

    layout: Layout
    installation: Installation
    user: ServerUser | None
    durable: bool
    timeout_s: float


def open_cluster(plan: ClusterPlan) -> str:
    """Return the superuser's password of the cluster, which is created where it is missing.

    Raises `DataDirectoryError` and `InitializationFailedError`.
    """
    if not plan.layout.cluster.exists():
        _create(plan)
    give_tree(plan.layout.cluster, plan.user)
    _check_version(plan)
    return plan.layout.password.read_text(encoding="utf-8")


def _check_version(plan: ClusterPlan) -> None:
    found = (plan.layout.cluster / "PG_VERSION").read_text(encoding="utf-8").strip()
    if found != str(plan.installation.major):
        raise DataDirectoryVersionError(data_dir=plan.layout.root, found=found, expected=plan.installation.major)


def _create(plan: ClusterPlan) -> None:
    password, staging = secrets.token_urlsafe(PASSWORD_BYTES), plan.layout.staging
    write_private(plan.layout.password, password)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    try:
        write_private(staging / "password", password)
        give(staging / "password", plan.user)
        give(staging, plan.user)
        with server_path(plan.user, staging) as place:
            _run_initdb(plan, place)
        (staging / "cluster").rename(plan.layout.cluster)
        sync_directory(plan.layout.root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run_initdb(plan: ClusterPlan, place: ServerPath) -> None:
    command = [
        str(plan.installation.initdb),
        f"--pgdata={place.name}/cluster",
        f"--pwfile={place.name}/password",
        f"--username={SUPERUSER}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--data-checksums",
        "--no-instructions",
        *(() if plan.durable else ("--no-sync",)),
    ]
    for locale in locale_arguments(plan.installation.major):
        log = _words_of_failure([*command, *locale], plan, place)
        if log is None:
            return
    raise InitializationFailedError(data_dir=plan.layout.root, log=log)


def locale_arguments(major: int) -> tuple[tuple[str, ...], ...]:
    """Return initdb's arguments for a locale that sorts by code point, the best ones first.

    PostgreSQL brings C.UTF-8 itself since 17; before, the system may have it or not.
    """
    if major >= BUILTIN_LOCALES_SINCE:
        return (("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),)
    libc = "--locale-provider=libc"
    return (libc, "--locale=C.UTF-8"), (libc, "--locale=C")


def _words_of_failure(command: list[str], plan: ClusterPlan, place: ServerPath) -> str | None:
    """Run `command`; return what it said if it failed, None if it did its work."""
    try:
        done = subprocess.run(
            child_command(command, plan.user, death_signal=signal.SIGTERM),
            check=False,
            cwd="/",
            encoding="utf-8",
            env=environment(),
            errors="replace",
            pass_fds=place.fds,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            timeout=plan.timeout_s,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {plan.timeout_s} s"
    lines = done.stdout.splitlines()[-LOG_LINES_MAX:]
    return "\n".join(("", *lines)) if done.returncode else None
