"""What do auditors and dashboards read? Pages of organizations, reservations and executions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gatekeeper.domain import errors
from gatekeeper.domain.organization import Organization
from gatekeeper.domain.reservation import Execution, Reservation
from gatekeeper.storage import budgets, reports
from gatekeeper.storage import organizations as organization_rows
from gatekeeper.storage.connections import Connection, Pool, wrap_errors
from gatekeeper.storage.organizations import Listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Entries of one organization, and the keyset position behind the last of them (None: there are no more)."""

    organization: Organization
    entries: Sequence[Any]
    after: tuple[Any, ...] | None


class Reports:
    """Reads by a pool of their own, so that none of them holds up the hot path."""

    def __init__(self, reads: Pool) -> None:
        """Read by this pool."""
        self._reads = reads

    async def reservations(
        self, organization: str, filters: Mapping[str, str], after: tuple[datetime, str] | None, size: int
    ) -> Page:
        """Return a page of reservations, newest first. Raises `OrganizationNotFound`."""
        with wrap_errors():
            async with self._reads.connection() as connection:
                found = await _find(connection, organization)
                entries = await reports.list_reservations(
                    connection, organization, filters=filters, after=after, limit=size + 1
                )
        return _page(found, entries, size, _reservation_key)

    async def executions(
        self, organization: str, filters: Mapping[str, str], after: tuple[datetime, str, str] | None, size: int
    ) -> Page:
        """Return a page of executions, newest first. Raises `OrganizationNotFound`."""
        with wrap_errors():
            async with self._reads.connection() as connection:
                found = await _find(connection, organization)
                entries = await reports.list_executions(
                    connection, organization, filters=filters, after=after, limit=size + 1
                )
        return _page(found, entries, size, _execution_key)

    async def organizations(self, organization: str, after: str, size: int) -> tuple[Sequence[Listed], str]:
        """Return organizations by name, or the one that is asked for, and the last name where there are more.

        Raises `OrganizationNotFound`.
        """
        with wrap_errors():
            async with self._reads.connection() as connection:
                found = await organization_rows.list_organizations(connection, organization, after, size + 1)
        if organization and not (found or after):
            raise errors.OrganizationNotFound(organization=organization)
        page = found[:size]
        return page, page[-1].organization if len(found) > size else ""


async def _find(connection: Connection, organization: str) -> Organization:
    found = await budgets.find_organization(connection, organization)
    if found is None:
        raise errors.OrganizationNotFound(organization=organization)
    return found[1]


def _page(organization: Organization, entries: Sequence[Any], size: int, key: Any) -> Page:
    """Cut what was read beyond the page's size, which tells that there is more."""
    more = len(entries) > size
    entries = entries[:size]
    return Page(organization=organization, entries=entries, after=key(entries[-1]) if more else None)


def _reservation_key(entry: Reservation) -> tuple[datetime, str]:
    return entry.created_at, entry.reservation_id


def _execution_key(entry: Execution) -> tuple[datetime, str, str]:
    return entry.committed_at, entry.reservation_id, entry.kind
