"""Who may do what? Roles, what each may call, and whose money a caller may touch.

No role is exempt from a budget: a right to call says nothing about the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from .budget import Scope, ScopeKind


class Role(StrEnum):
    """What a caller is to the installation."""

    AGENT = "AGENT"
    VIEWER = "VIEWER"
    ADMIN = "ADMIN"
    OPERATOR = "OPERATOR"


AGENTS = frozenset({Role.AGENT, Role.OPERATOR})
READERS = frozenset({Role.VIEWER, Role.ADMIN, Role.OPERATOR})
ADMINS = frozenset({Role.ADMIN, Role.OPERATOR})

# Which roles may call each RPC. An RPC that is not here does not start.
RIGHTS: Mapping[str, frozenset[Role]] = {
    "Reserve": AGENTS,
    "Commit": AGENTS,
    # An admin's is the manual release of a hold that somebody else left behind; it is audited.
    "Release": AGENTS | ADMINS,
    "Extend": AGENTS,
    "GetStatus": AGENTS | READERS,
    "SetCap": ADMINS,
    "SetOverride": ADMINS,
    # Whoever may spend may ask; an admin decides.
    "RequestOverride": AGENTS | ADMINS,
    "ListBudgets": READERS,
    "ListReservations": READERS,
    "ListExecutions": READERS,
    "ListAuditEvents": READERS,
    "ListOverrides": READERS,
    "ListAlerts": READERS,
    "WatchStatus": READERS,
    "CreateToken": ADMINS,
    "ListTokens": ADMINS,
    "RevokeToken": ADMINS,
    "SetPrice": ADMINS,
    "TestAlerts": ADMINS,
    "RetryAlerts": ADMINS,
    "GetSpendSummary": READERS,
    "ListCampaignSpend": READERS,
    "ListDepartmentSpend": READERS,
    "ListAgentSpend": READERS,
    "ListModelSpend": READERS,
    "GetAttributedSpend": READERS,
    "GetStatement": READERS,
    "GetMonthlyReport": READERS,
    "ListInvoices": READERS,
    "ListOrganizations": READERS,
    "ExportInvoice": ADMINS,
    "GetBillingProfile": ADMINS,
    "SetBillingProfile": ADMINS,
    "CreditInvoice": ADMINS,
}

# What a token may be narrowed to.
NARROW_KINDS = frozenset({ScopeKind.CAMPAIGN, ScopeKind.AGENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, and what it may touch: one organization, or all of them (empty); one scope of it, or all (None)."""

    caller_id: str
    name: str
    role: Role
    organization: str = ""
    scope: Scope | None = None

    def reaches(self, scopes: Sequence[Scope]) -> bool:
        """Tell whether a call of these scopes is one that the caller may touch."""
        return self.scope is None or self.scope in scopes


class Actor(NamedTuple):
    """Who did something, and from where: the peer's address as gRPC writes it, or the command line."""

    caller: Caller
    peer: str


# Whoever reaches a server that asks nobody who they are.
ANYONE = Caller(caller_id="", name="anyone", role=Role.OPERATOR)
# What the server does by itself.
SYSTEM = Actor(Caller(caller_id="", name="gatekeeper", role=Role.OPERATOR), "")
