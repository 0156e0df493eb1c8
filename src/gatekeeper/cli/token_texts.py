"""How is a token told, to people and to programs? Never with its secret."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatekeeper.domain.tokens import Token

COLUMNS = ("Name", "Organization", "Role", "For", "Identity", "State", "Expires", "Last used", "Made by", "Id")
OPTIONAL = ("Made by", "Last used", "Identity", "For", "Expires", "Organization")


def token_document(token: Token) -> dict[str, Any]:
    """Return a token for programs."""
    return {
        "token_id": token.token_id,
        "organization": token.organization,
        "name": token.name,
        "role": token.role,
        "scope": token.scope and {"kind": token.scope.kind, "id": token.scope.id},
        "identity": token.identity,
        "state": _state(token),
        "create_time": token.created_at.isoformat(),
        "creator": token.created_by,
        **{
            name: instant and instant.isoformat()
            for name, instant in (
                ("expire_time", token.expires_at),
                ("revoke_time", token.revoked_at),
                ("last_use_time", token.last_used_at),
            )
        },
    }


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "REVOKED"
    return "IN_FORCE" if token.in_force else "EXPIRED"


def token_text(token: Token) -> str:
    """Name a token for people."""
    whose = f"{token.organization}'s {token.role.lower()}" if token.organization else "The operator's"
    return f"{whose} token {token.name!r}"


def made_text(token: Token) -> str:
    """Tell what was made, in a sentence."""
    for_what = f", for {token.scope.kind.lower()} {token.scope.id!r} only" if token.scope else ""
    until = f", until {_minutes(token.expires_at)} UTC" if token.expires_at else ""
    whom = f"{token.identity} has the role of {token_text(token)}" if token.identity else f"{token_text(token)} is made"
    return f"{whom}{for_what}{until}. Its id is {token.token_id}."


def token_row(token: Token) -> list[str]:
    """Return the COLUMNS of a token."""
    return [
        token.name,
        token.organization or "(all)",
        token.role.lower(),
        f"{token.scope.kind.lower()} {token.scope.id}" if token.scope else "",
        token.identity,
        _state(token).lower().replace("_", " "),
        _minutes(token.expires_at),
        _minutes(token.last_used_at),
        token.created_by,
        token.token_id,
    ]


def _minutes(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M}" if instant else ""
