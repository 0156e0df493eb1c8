"""Who calls? The bearer of a token, or else whom the transport vouches for: a client certificate or a Unix user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc

from gatekeeper.domain import errors
from gatekeeper.domain.access import ANYONE, Caller
from gatekeeper.domain.tokens import digest_of_identity, digest_of_secret, is_token
from gatekeeper.services.callers import Callers

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = Iterable[tuple[str, str | bytes]]
HEADER = "authorization"
SCHEME = "bearer "


class Authentication:
    """Finds the caller of each call; without `callers` it asks nobody."""

    def __init__(self, callers: Callers | None, identities: Callable[[Context], Sequence[str]]) -> None:
        """Look tokens up in `callers`, and ask `identities` whom the transport vouches for."""
        self._callers = callers
        self._identities = identities

    async def caller(self, context: Context) -> Caller:
        """Return who calls. Raises `Unauthenticated`, `IdentityUnmapped`, or `DatabaseUnavailable`."""
        callers = self._callers
        if callers is None:
            return ANYONE
        secret = _secret(context.invocation_metadata())
        if secret is None:
            return await self._vouched_for(context, callers)
        digest = digest_of_secret(secret)
        return callers.known(digest) or await callers.find(digest)

    def known_bearer(self, metadata: Metadata | None) -> Caller | None:
        """Return whose token came with a call, if that is known and in force."""
        if self._callers is None:
            return None
        try:
            secret = _secret(metadata)
            return None if secret is None else self._callers.known(digest_of_secret(secret))
        except errors.Unauthenticated:
            return None

    async def _vouched_for(self, context: Context, callers: Callers) -> Caller:
        identities = self._identities(context)
        digests = [digest_of_identity(identity) for identity in identities]
        for digest in digests:
            if caller := callers.known(digest):
                return caller
        for digest in digests:
            try:
                return await callers.find(digest)
            except errors.TokenInvalid:
                continue
        if not identities:
            raise errors.TokenMissing
        kind = "unix-user" if identities[0].startswith("uid=") else "certificate"
        raise errors.IdentityUnmapped(identity=identities[0], kind=kind)


def _secret(metadata: Metadata | None) -> str | None:
    """Return the token that came with a call. Raises `TokenInvalid` for what is none, or for several."""
    secret: str | None = None
    for name, value in metadata or ():
        if name != HEADER:
            continue
        if secret is not None or not isinstance(value, str) or value[: len(SCHEME)].lower() != SCHEME:
            raise errors.TokenInvalid
        secret = value[len(SCHEME) :].strip()
        if not is_token(secret):
            raise errors.TokenInvalid
    return secret
