"""Whom does the transport vouch for? The holder of a client certificate, or a user of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]
UNIX = "unix"

# Of a subject as gRPC writes it: a backslash stands before what is no separator, and before a byte in hexadecimal.
ESCAPED = re.compile(rb"\\.", re.DOTALL)
COMMON_NAME = re.compile(rb"(?:^|[,+])CN=")
NUL = rb"\00"


class Peers:
    """What is known of the other ends of connections."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._uids: dict[str, int] = {}

    def add(self, peer: str, uid: int) -> None:
        """Vouch for the user behind a peer, named as gRPC names it, until it is removed."""
        self._uids[peer] = uid

    def remove(self, peer: str) -> None:
        """Forget a peer whose connection has ended."""
        self._uids.pop(peer, None)

    def __len__(self) -> int:
        return len(self._uids)

    def identities(self, context: Context) -> tuple[str, ...]:
        """Return who calls: `uid=N`, or `spiffe://…` and `CN=…` of a verified certificate; nothing if unknown.

        It takes 5 µs, so nothing is kept: what is kept for an address would be told of the next one to have it.
        """
        peer = context.peer()
        if peer.startswith(UNIX):
            uid = self._uids.get(peer)
            return () if uid is None else (f"uid={uid}",)
        return certified(context.auth_context())


def certified(properties: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """Return what a client certificate says of its holder, from what gRPC tells of a connection.

    An URI counts where it is the certificate's only one and a SPIFFE ID, a common name where it is the only one too.
    """
    # Alternative names of all kinds are also in one list, where a host's name can look like an URI.
    names = [*_texts(properties.get("peer_spiffe_id", ()))]
    names += [f"CN={name}" for name in _texts(properties.get("x509_common_name", ())) if _is_whole(properties)]
    return tuple(names)


def _is_whole(properties: Mapping[str, Iterable[bytes]]) -> bool:
    """Tell whether the subject's common name is all of it: gRPC gives the first of several, and none beyond a NUL."""
    subject = b"".join(properties.get("x509_subject", ()))
    return len(COMMON_NAME.findall(ESCAPED.sub(b"", subject))) == 1 and NUL not in subject


def _texts(values: Iterable[bytes]) -> Iterable[str]:
    for value in values:
        text = value.decode(errors="replace")
        if text and text.isprintable():
            yield text
