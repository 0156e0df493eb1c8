"""What is a token, who may have which, and what stands for it in the database?

A token is shown once and kept as a digest. A client certificate or a Unix user can stand in its place: its identity.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from .access import NARROW_KINDS, Role
from .audit import Content
from .budget import Scope
from .errors import InvalidField
from .names import check_name, check_reason

TOKEN_PREFIX = "gk_"  # noqa: S105 - what tells a token from other secrets, for scanners too
SECRET_BYTES = 32
# 32 bytes in base 64 for URLs, without padding.
TOKEN = re.compile(TOKEN_PREFIX + "[A-Za-z0-9_-]{43}")

IDENTITY_LENGTH_MAX = 512
SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.\.?(/|$))[A-Za-z0-9._-]+)+")
UID = re.compile("uid=(0|[1-9][0-9]{0,9})")
# The last number stands for no user.
UID_MAX = 2**32 - 2
COMMON_NAME = "CN="

LIFE_MAX = timedelta(days=3653)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A caller's credential, without what it is recognized by. `in_force` is as of the database's clock at the read."""

    organization: str
    token_id: str
    name: str
    role: Role
    scope: Scope | None
    identity: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revision: int
    in_force: bool
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """What is asked for. With an `identity` there is no secret; without an expiry it lasts until it is revoked."""

    name: str
    role: Role
    organization: str = ""
    scope: Scope | None = None
    identity: str = ""
    expires_at: datetime | None = None
    reason: str = ""


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a token."""
    return TOKEN.fullmatch(text) is not None


def digest_of_secret(text: str) -> bytes:
    """Return what a token is recognized by. With 256 random bits in it, it needs no slow hash."""
    return hashlib.sha256(text.encode()).digest()


def digest_of_identity(text: str) -> bytes:
    """Return what a certificate or Unix user is recognized by; no token has the same."""
    return hashlib.sha256(b"identity\0" + text.encode()).digest()


def check(new: NewToken) -> None:
    """Refuse what cannot be a token, but for its expiry. Raises `InvalidField`, which names the field and the fix."""
    check_name("name", new.name)
    check_reason(new.reason)
    if new.role is Role.OPERATOR:
        if new.organization:
            raise InvalidField(field="organization", problem="must be empty for an operator, who is for all of them")
    elif not new.organization:
        raise InvalidField(field="organization", problem="is required for every role but operator")
    else:
        check_name("organization", new.organization)
    if new.scope is not None:
        _check_scope(new.role, new.scope)
    if new.identity:
        _check_identity(new.identity)


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Refuse an expiry that has passed, or never comes. Raises `InvalidField`."""
    if expires_at is None:
        return
    if expires_at <= now:
        raise InvalidField(field="expire_time", problem=f"must lie in the future; it is {now.isoformat()}")
    if expires_at - now > LIFE_MAX:
        raise InvalidField(field="expire_time", problem="must be at most ten years from now; leave it out for no end")


def _check_scope(role: Role, scope: Scope) -> None:
    if role is not Role.AGENT:
        raise InvalidField(
            field="scope", problem=f"must be left out: {role.lower()}s are for all scopes, agents for one"
        )
    if scope.kind not in NARROW_KINDS:
        raise InvalidField(field="scope.kind", problem="must be campaign or agent")
    check_name("scope.id", scope.id)


def _check_identity(identity: str) -> None:
    check_name("identity", identity, IDENTITY_LENGTH_MAX)
    if identity.startswith("spiffe:"):
        fits, problem = bool(SPIFFE.fullmatch(identity)), "must be like spiffe://example.org/writer, with a path"
    elif identity.startswith("uid="):
        uid = UID.fullmatch(identity)
        fits, problem = bool(uid and int(uid[1]) <= UID_MAX), "must be like uid=1000, a number without leading zeros"
    elif identity.startswith(COMMON_NAME):
        common_name = identity.removeprefix(COMMON_NAME)
        fits, problem = bool(common_name.strip()), "must be like CN=writer, the common name as it is in the certificate"
    else:
        fits, problem = False, "must be like spiffe://example.org/writer, CN=writer or uid=1000"
    if not fits:
        raise InvalidField(field="identity", problem=problem)


def subject(token: Token) -> str:
    """Name a token in the audit trail."""
    return f"token {token.name!r}"


def content(token: Token) -> Content:
    """Return what the audit trail keeps of a token."""
    return {
        "token_id": token.token_id,
        "role": token.role,
        "scope": None if token.scope is None else f"{token.scope.kind.lower()} {token.scope.id!r}",
        "identity": token.identity or None,
        "expires_at": None if token.expires_at is None else token.expires_at.isoformat(),
    }
