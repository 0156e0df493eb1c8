"""Whose is a connection that the relay passes on? The kernel tells it, and the name of the end behind it tells gRPC."""

from __future__ import annotations

import errno
import secrets
import socket
import struct

CREDENTIALS = struct.Struct("iII")  # pid, uid, gid
# Every user of the machine sees which names there are, and could take those to come if they were to be guessed.
NAME_BYTES = 16


def uid_of(connection: socket.socket) -> int:
    """Return which user is at the other end of a Unix socket."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _pid, uid, _gid = CREDENTIALS.unpack(credentials)
    return int(uid)


def bind(end: socket.socket, uid: int) -> str:
    """Give a socket a name that tells whose it is, and never comes again; return the name. Raises OSError."""
    try:
        return _bind_once(end, uid)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return _bind_once(end, uid)


def _bind_once(end: socket.socket, uid: int) -> str:
    name = f"gatekeeper.{secrets.token_hex(NAME_BYTES)}.uid={uid}"
    end.bind(f"\0{name}")
    return name
