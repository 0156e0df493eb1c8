"""Does a server go on whose standard error nobody reads?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.conftest import STOP_TIMEOUT_S, served_url, server_environment
from tests.contract.wire import Wire, until
from tests.integration.observing import HTTP, SERVES


@contextmanager
def full_pipe() -> Iterator[int]:
    """Yield the end to write to of a pipe that is full and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@contextmanager
def unread_server(database_url: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a server that cannot write a line."""
    command = [sys.executable, "-m", "gatekeeper", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    with (
        full_pipe() as log,
        subprocess.Popen(
            [*command, "--database-url", served_url(database_url)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=server_environment(folder),
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(60)
def test_nobody_reads(database_url: str, tmp_path: Path) -> None:
    """Calls and readiness are answered, before and after an outage that has much to tell, and it ends when asked to."""
    with unread_server(database_url, tmp_path) as process:
        assert process.stdout is not None
        address = next(found[1] for line in process.stdout if (found := SERVES.search(line)))
        place = next(found[1] for line in process.stdout if (found := HTTP.search(line)))
        wire = Wire(address, database_url)

        def is_ready() -> bool:
            return httpx.get(f"http://{place}/readyz", timeout=5).status_code == httpx.codes.OK

        wire.hold("acme", "0.01")
        assert is_ready()
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        until(is_ready)
        for _ in range(500):
            wire.hold("acme", "0.01")
        assert is_ready()
        wire.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_TIMEOUT_S) == 0
