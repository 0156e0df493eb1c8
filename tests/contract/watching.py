"""How does a test watch an organization? As a screen does: by keeping of each budget what it was last sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gatekeeper_client.v1 import budget_pb2
from gatekeeper_client.v1 import report_service_pb2 as report_pb

from .wire import TIMEOUT_S, Wire

Key = tuple[int, str, int]


class Screen:
    """What a stream has told so far."""

    def __init__(self, stream: Any) -> None:
        """Begin with its snapshot."""
        self.messages: list[report_pb.WatchStatusResponse] = []
        self.budgets: dict[Key, budget_pb2.BudgetStatus] = {}
        self._stream = stream
        assert self.read().snapshot

    def read(self) -> report_pb.WatchStatusResponse:
        """Wait for the next message, and show it."""
        message: report_pb.WatchStatusResponse = next(self._stream)
        self.messages.append(message)
        if message.snapshot:
            self.budgets.clear()
        self.budgets |= {key_of(status): status for status in message.budgets}
        return message

    def until(self, met: Callable[[], object]) -> None:
        """Read until a condition is met."""
        while not met():
            self.read()

    def of(self, scope: budget_pb2.Scope, window: int = budget_pb2.BUDGET_WINDOW_MONTH) -> budget_pb2.BudgetStatus:
        """Return how a budget was last shown."""
        return self.budgets[scope.kind, scope.id, window]

    @property
    def overrides(self) -> list[str]:
        """The ids of the overrides that were last shown."""
        return [override.override_id for override in self.messages[-1].overrides]


def key_of(status: budget_pb2.BudgetStatus) -> Key:
    """Return which budget a status is of."""
    return status.scope.kind, status.scope.id, status.window


@contextmanager
def watching(wire: Wire, organization: str, **options: Any) -> Iterator[Screen]:
    """Watch an organization for as long as the block lasts."""
    request = report_pb.WatchStatusRequest(organization=organization)
    stream: Any = wire.reports.WatchStatus(request, timeout=TIMEOUT_S, **options)
    try:
        yield Screen(stream)
    finally:
        stream.cancel()
