"""Is this process fit to serve? Only while each of its named parts is, and it is not on its way out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .streams import Context, Streams, send

log = structlog.get_logger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

# Nobody is asked who watches, and each watch takes 20 kB for as long as it likes. No fleet of balancers needs as many.
WATCHES_MAX = 1000
# A tool that asks for descriptors is done within a second; nothing of ours keeps such a stream open.
REFLECTIONS_MAX = 100


class Health:
    """A conjunction of named parts, told by grpc.health.v1.Health for the server and for each service."""

    def __init__(self, services: tuple[str, ...]) -> None:
        """Begin as NOT_SERVING: nothing is known yet."""
        self.servicer = HealthServicer(("", *services))
        self.reflections = Streams(REFLECTIONS_MAX)
        # Whether calls are refused: for good, or until the database is back.
        self.draining = False
        self.away = False
        self._withdrawn = False
        self._parts: dict[str, bool] = {}

    @property
    def serving(self) -> bool:
        """Whether every part is fit."""
        return bool(self._parts) and all(self._parts.values()) and not self._withdrawn

    @property
    def parts(self) -> Mapping[str, bool]:
        """Each part, and whether the process is to stay."""
        return {**self._parts, "not_stopping": not self._withdrawn}

    async def report(self, parts: Mapping[str, bool]) -> None:
        """Take the state of some parts."""
        changed = {name: fit for name, fit in parts.items() if self._parts.get(name) != fit}
        if changed:
            log.info("health.changed", **changed)
        self._parts.update(parts)
        self.away = not all(self._parts.get(part, True) for part in ("database", "schema"))
        self._tell()

    async def withdraw(self) -> None:
        """Say NOT_SERVING from now on, while calls are still answered: whoever balances load needs time to notice."""
        self._withdrawn = True
        self._tell()

    async def end_streams(self) -> None:
        """End all watches and reflection, which the server would otherwise wait for when it stops."""
        self.servicer.watches.end()
        self.reflections.end()

    def _tell(self) -> None:
        self.servicer.tell(SERVING if self.serving else NOT_SERVING)


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Tells the status that all services have in common, to those who ask and to those who watch.

    No watcher waits for another: one that does not read what it is told holds up nobody.
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        """Begin as NOT_SERVING."""
        self.watches = Streams(WATCHES_MAX)
        self._services = frozenset(services)
        self._status: int = NOT_SERVING
        self._changed = asyncio.Event()

    def tell(self, status: int) -> None:
        """Tell a status from now on."""
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """Tell the status; NOT_FOUND for a service that there is not."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Tell the status now and whenever it changes."""
        told = None
        async with self.watches.one(context):
            while True:
                changed = self._changed
                status = self._status if request.service in self._services else SERVICE_UNKNOWN
                if status != told:
                    told = status
                    await send(context, health_pb2.HealthCheckResponse(status=status))
                await changed.wait()
