"""How does a process become PostgreSQL without privileges that ends with its launcher?

A program of its own, run as `python -I -S child.py UID GID LAUNCHER_PID SIGNAL PROGRAM ARGUMENT…`,
because the launcher has threads (gRPC's among them) and Python code between its fork and exec
could deadlock. The order matters: setuid clears the death signal, so that comes last. It needs
nothing but the standard library, all of it imported while the interpreter's files can be read.

On Linux the kernel sends SIGNAL (SIGINT: PostgreSQL's fast shutdown) when the thread that
launched us ends, in whatever way. Elsewhere nothing does: there the next launcher on the same
data directory stops a PostgreSQL that was left behind.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
KEEP = -1  # the identity stays as it is
LAUNCHER_GONE = 75  # EX_TEMPFAIL


def drop_privileges(uid: int, gid: int) -> None:
    """Become `uid` for good, without supplementary groups; does nothing for `KEEP`."""
    if uid == KEEP:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if 0 in (os.getuid(), os.geteuid()):
        sys.exit("privileges were not dropped")


def end_with_launcher(launcher_pid: int, death_signal: int) -> None:
    """Have the kernel send `death_signal` when the launcher ends; exit if it has already."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != launcher_pid:
        sys.exit(LAUNCHER_GONE)


def main(uid: str, gid: str, launcher_pid: str, death_signal: str, *command: str) -> None:
    """Replace this process by `command`."""
    os.umask(0o077)
    try:
        drop_privileges(int(uid), int(gid))
        end_with_launcher(int(launcher_pid), int(death_signal))
        os.execv(command[0], command)  # noqa: S606 - that is what this program is for
    except OSError as error:
        sys.exit(f"{command[0]}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
