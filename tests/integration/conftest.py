"""What do the tests that look at running servers share?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.contract.wire import Wire
from tests.integration.observing import Connect, Watch, Watched, watching


@pytest.fixture
def watch(start_server: ServerFactory, database_url: str, tmp_path: Path) -> Watch:
    """Return what starts servers with HTTP and a log on the test's database."""
    return watching(start_server, database_url, tmp_path)


@pytest.fixture
def wire_to(database_url: str) -> Iterator[Connect]:
    """Return what connects to one of them, until the end of the test."""
    with ExitStack() as stack:

        def connect(watched: Watched) -> Wire:
            wire = Wire(watched.server.address, database_url)
            stack.callback(wire.close)
            return wire

        yield connect
