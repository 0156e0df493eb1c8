"""Is this process fit to serve? Only while each of its named parts is, and it is not on its way out."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer

log = structlog.get_logger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """A conjunction of named parts, told by grpc.health.v1.Health for the server and for each service."""

    def __init__(self, services: tuple[str, ...]) -> None:
        """Begin as NOT_SERVING: nothing is known yet."""
        self.servicer = HealthServicer()
        # Whether calls are refused: for good, or until the database is back.
        self.draining = False
        self.away = False
        self._withdrawn = False
        self._services = ("", *services)
        self._parts: dict[str, bool] = {}

    @property
    def serving(self) -> bool:
        """Whether every part is fit."""
        return bool(self._parts) and all(self._parts.values()) and not self._withdrawn

    async def report(self, parts: Mapping[str, bool]) -> None:
        """Take the state of some parts."""
        changed = {name: fit for name, fit in parts.items() if self._parts.get(name) != fit}
        if changed:
            log.info("health.changed", **changed)
        self._parts.update(parts)
        self.away = not self._parts.get("database", True)
        await self._tell()

    async def withdraw(self) -> None:
        """Say NOT_SERVING from now on, while calls are still answered: whoever balances load needs time to notice."""
        self._withdrawn = True
        await self._tell()

    async def _tell(self) -> None:
        status = SERVING if self.serving else NOT_SERVING
        for service in self._services:
            await self.servicer.set(service, status)
