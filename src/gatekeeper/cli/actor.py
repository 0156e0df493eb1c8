"""Who works at the command line, and with which key is it written down?"""

from __future__ import annotations

import os
import pwd
import socket
from typing import TYPE_CHECKING

from gatekeeper.domain.access import Actor, Caller, Role

if TYPE_CHECKING:
    from gatekeeper.domain.audit import AuditKey
    from gatekeeper.settings import Settings


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


def audit_key(settings: Settings) -> AuditKey:
    """Return the key that the servers on this database seal with. Raises `AuditKeyUnusable`."""
    from gatekeeper.database import audit_key_file
    from gatekeeper.services import audit_keys

    return audit_keys.load(audit_key_file(settings), create=settings.audit_key_file is None)
