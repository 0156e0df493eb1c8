"""Which months are to be billed? The last one that is over, and every one before it that was not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from gatekeeper_client import Client
    from gatekeeper_client.v1.report_service_pb2 import OrganizationInfo

MONTH: Final = re.compile("[0-9]{4}-(0[1-9]|1[0-2])")


def last_month(client: Client, organization: str) -> str:
    """Return the month before the current one, by the organization's calendar as the server tells it."""
    budgets = client.get_status(organization).budgets
    periods = [status.period[:7] for status in budgets if MONTH.match(status.period)]
    current = max(periods, default=f"{datetime.now(UTC):%Y-%m}")
    return f"{datetime.fromisoformat(f'{current}-01') - timedelta(days=1):%Y-%m}"


def months_due(client: Client, organization: OrganizationInfo) -> list[str]:
    """Return every month that was not billed, the oldest first, and the last one if the organization was open then."""
    due = client.list_unbilled_periods(organization.organization)
    last = last_month(client, organization.organization)
    opened = organization.create_time.ToDatetime(UTC).astimezone(ZoneInfo(organization.time_zone))
    if last not in due and f"{opened:%Y-%m}" <= last:
        due.append(last)
    return due
