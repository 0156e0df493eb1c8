"""What do people read of alerts, and how do they try whether alerts arrive?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from gatekeeper.domain.alert_deliveries import DeliveryState, Notice, ToldAlert
from gatekeeper.domain.alerts import Alert, AlertKind
from gatekeeper.domain.errors import OrganizationNotFound, TestedAlready
from gatekeeper.storage import alert_deliveries, books, budgets
from gatekeeper.storage import alerts as storage
from gatekeeper.storage.connections import Pool, wrap_errors

# How old an alert may be that is tried anew after it was given up.
RETRY_AGE_MAX = timedelta(days=31)
TEST_MESSAGE = "This is a test: alerts arrive here."


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilters:
    """Which alerts are listed: of one kind, with a delivery in one state."""

    kind: AlertKind | None = None
    state: DeliveryState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPage:
    """Alerts, and the id of the last of them (None: there are no more)."""

    alerts: Sequence[ToldAlert]
    after: int | None


class Alerts:
    """Reads alerts by a pool of its own, so that no list holds up the hot path."""

    def __init__(self, reads: Pool) -> None:
        """Read by this pool."""
        self._reads = reads

    async def page(self, organization: str, filters: AlertFilters, after: int | None, size: int) -> AlertPage:
        """Return a page, newest first; an empty organization names what concerns the installation.

        Raises `OrganizationNotFound` for one that is not open and has no alerts either.
        """
        with wrap_errors():
            async with self._reads.connection() as connection:
                found = await storage.list_alerts(
                    connection, organization, kind=filters.kind, state=filters.state, after=after, limit=size + 1
                )
                known = found or not organization or await budgets.find_organization(connection, organization)
        if not known:
            raise OrganizationNotFound(organization=organization)
        page = found[:size]
        return AlertPage(alerts=page, after=page[-1].notice.alert_id if len(found) > size else None)


async def send_test(pool: Pool, organization: str) -> Notice:
    """Write an alert that says nothing: one a minute, for all organizations share the channels.

    Raises `OrganizationNotFound` or `TestedAlready`.
    """
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            found = await budgets.find_organization(connection, organization)
            if found is None:
                raise OrganizationNotFound(organization=organization)
            now = await books.database_now(connection)
            # Of two in a minute, the second is the very same alert.
            subject = f"{now:%Y-%m-%dT%H:%MZ}"
            alert = Alert(kind=AlertKind.TEST, message=TEST_MESSAGE, occurred_at=now, subject=subject)
            written = await storage.write_alerts(connection, organization, [alert])
    if not written:
        raise TestedAlready(organization=organization)
    return Notice(alert_id=written[0], organization=organization, currency=found[1].currency, alert=alert)


async def retry(pool: Pool, organization: str) -> int:
    """Let what was given up of the last month's alerts be tried anew; return how many deliveries it were.

    An empty organization names what concerns the installation. Raises `OrganizationNotFound`.
    """
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            if organization and await budgets.find_organization(connection, organization) is None:
                raise OrganizationNotFound(organization=organization)
            return await alert_deliveries.retry(connection, organization, RETRY_AGE_MAX)
