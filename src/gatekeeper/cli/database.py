"""Which database do the commands that need no server work on?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gatekeeper.app import open_database
from gatekeeper.embedded import default_data_dir, find_running
from gatekeeper.settings import Settings


@asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the database: the given one, the embedded one that runs, or else that one, started for now."""
    if settings.database_url is None and (running := find_running(settings.data_dir or default_data_dir())):
        yield running
        return
    async with open_database(settings) as url:
        yield url
