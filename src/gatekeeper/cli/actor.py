"""Who works at the command line?"""

from __future__ import annotations

import os
import pwd
import socket

from gatekeeper.domain.access import Actor, Caller, Role


def actor() -> Actor:
    """Return the user of this process, whatever its environment says. Who reaches the database may do everything."""
    caller = Caller(caller_id="", name=user_name(os.getuid()), role=Role.OPERATOR)
    return Actor(caller, f"command line on {socket.gethostname()}")


def user_name(uid: int) -> str:
    """Return what a Unix user is called; one without a name is its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid={uid}"
