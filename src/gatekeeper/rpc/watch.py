"""What does a message to those who watch look like?"""

from __future__ import annotations

from gatekeeper.services.views import View
from gatekeeper_client.v1 import report_service_pb2 as pb

from .overrides import write_override
from .translate import write_statuses, write_time


def write_view(view: View) -> bytes:
    """Write a WatchStatusResponse: a snapshot, or what has changed, together with all overrides in force."""
    name, currency = view.organization.organization, view.organization.currency
    return pb.WatchStatusResponse(
        snapshot=view.is_whole,
        budgets=write_statuses(view.balances, currency),
        overrides=[write_override(override, name, currency, view.read_at) for override in view.overrides],
        read_time=write_time(view.read_at),
    ).SerializeToString()
