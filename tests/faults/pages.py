"""What does a server show over HTTP?"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prometheus_client.parser import text_string_to_metric_families

# Far above what any answer takes.
HANGS_S = 20


class Pages:
    """What the server shows over HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """Ask by `http`."""
        self._http = http

    async def status(self, path: str) -> int:
        """Return the status of a page."""
        return (await self._http.get(path)).status_code

    async def metric(self, name: str) -> float | None:
        """Return the value of a metric, over all its labels; None: it is not there."""
        text = (await self._http.get("/metrics")).raise_for_status().text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        values = [sample.value for sample in samples if sample.name == name]
        return sum(values) if values else None


@asynccontextmanager
async def pages_at(address: str) -> AsyncIterator[Pages]:
    """Yield what a server shows at HOST:PORT."""
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=HANGS_S, trust_env=False) as http:
        yield Pages(http)


def free_address() -> str:
    """Return HOST:PORT that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"
