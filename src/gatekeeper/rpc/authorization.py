"""May this caller make this call? Here, and nowhere else, each request is bound to its caller's organization."""

from __future__ import annotations

from typing import Any

from gatekeeper.domain import errors
from gatekeeper.domain.access import RIGHTS, Caller
from gatekeeper.domain.budget import ORGANIZATION, Scope

from .translate import read_scope, write_scope


def authorize(caller: Caller, rpc: str, request: Any) -> None:
    """Bind a valid request to its caller: fill in an empty organization, and narrow what is asked for.

    Raises `RoleInsufficient`, `OutOfScope`, or `OrganizationNotFound` for any organization that is not the caller's,
    whether or not there is one of that name.
    """
    roles = RIGHTS[rpc]
    if caller.role not in roles:
        raise errors.RoleInsufficient(method=rpc, roles=", ".join(sorted(roles)).lower(), role=caller.role.lower())
    if not caller.organization:
        return
    if not request.organization:
        request.organization = caller.organization
    elif request.organization != caller.organization:
        raise errors.OrganizationNotFound(organization=request.organization)
    if caller.scope is not None:
        _narrow(caller.scope, rpc, request)


def _narrow(scope: Scope, rpc: str, request: Any) -> None:
    """Refuse what is for another scope. What names a reservation is left to the ledger, which knows whose it is."""
    field = scope.kind.lower()
    if rpc == "Reserve" and getattr(request, field) != scope.id:
        raise errors.OutOfScope(scope=f"{field} {scope.id!r}", field=field, id=scope.id)
    # Whether one for a reservation of any id is due, an admin decides.
    is_scoped = rpc == "RequestOverride" and request.WhichOneof("target") != "reservation"
    if is_scoped and read_scope(request.scope, "scope") != scope:
        raise errors.OutOfScope(scope=f"{field} {scope.id!r}", field="scope", id=scope.id)
    if rpc == "GetStatus":
        if any(read_scope(asked, "scopes") not in (scope, ORGANIZATION) for asked in request.scopes):
            raise errors.OutOfScope(scope=f"{field} {scope.id!r}", field="scopes", id=scope.id)
        if not request.scopes:
            request.scopes.append(write_scope(scope))
