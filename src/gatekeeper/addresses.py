"""Which addresses can be listened on, and which of them does only this machine reach? For gRPC and for HTTP alike."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from ipaddress import ip_address

PORT_MAX = 65_535


class ListenError(Exception):
    """Cannot listen on {address}: {why}."""

    def __init__(self, address: str, why: str) -> None:
        """Say where and why not."""
        super().__init__((ListenError.__doc__ or "").format(address=address, why=why))


def host_and_port(address: str, form: str) -> tuple[str, int]:
    """Split HOST:PORT; raise `ListenError`, which says `form`, for what is none. The host comes without its []."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_number = port.isascii() and port.isdecimal() and int(port) <= PORT_MAX
    # Without the brackets, gRPC would take the port for a part of the address.
    if not is_number or not bare or (":" in bare and bare == host):
        raise ListenError(address, form)
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a host: an address that does, or `localhost` where it means such ones."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost" and all(
        ip_address(str(place[0])).is_loopback for *_, place in socket.getaddrinfo(host, None)
    )


def try_port(host: str, port: int) -> None:
    """Raise OSError for a port that is not to be had: gRPC would write to the log about it."""
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
            except OSError as error:
                # A host may have one of its addresses only.
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
