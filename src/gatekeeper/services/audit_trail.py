"""What do auditors read? Pages of the audit trail: every change and every denial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.storage import audit_trail as storage
from gatekeeper.storage import budgets
from gatekeeper.storage.audit_trail import AuditEntry, AuditFilters, Position
from gatekeeper.storage.connections import Pool, wrap_errors

__all__ = ["AuditEntry", "AuditFilters", "AuditPage", "AuditTrail", "Position"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries, and the position behind the last of them (None: there are no more)."""

    entries: Sequence[AuditEntry]
    after: Position | None


class AuditTrail:
    """Reads the trail by a pool of its own, so that no list holds up the hot path."""

    def __init__(self, reads: Pool) -> None:
        """Read by this pool."""
        self._reads = reads

    async def page(self, organization: str, filters: AuditFilters, after: Position | None, size: int) -> AuditPage:
        """Return a page, newest first; an empty organization names what concerns the installation.

        Raises `OrganizationNotFound` for one that is not open and has no trail either.
        """
        with wrap_errors():
            async with self._reads.connection() as connection:
                entries = await storage.list_entries(connection, organization, filters, after=after, limit=size + 1)
                known = entries or not organization or await budgets.find_organization(connection, organization)
        if not known:
            raise OrganizationNotFound(organization=organization)
        more = len(entries) > size
        entries = entries[:size]
        return AuditPage(entries=entries, after=entries[-1].position if more else None)
